"""The real MochiPipeline with the tiny model's random weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from diffusers import MochiPipeline

from inference_service.mochi_pipeline import MochiVideoPipeline
from inference_service.pipeline import (
    DeviceLost,
    GenerationError,
    InvalidFrames,
    OutOfMemory,
    PipelineFailed,
    Stop,
    StopReason,
)
from jobs.job import Phase
from tests.inference_service.support import SPEC, Seen, generate

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


@pytest.mark.parametrize(("width", "height", "num_frames"), [(32, 32, 7), (48, 32, 13), (32, 64, 7)], ids=str)
def test_makes_exactly_the_asked_frames(
    tiny: MochiVideoPipeline, width: int, height: int, num_frames: int
) -> None:
    frames = generate(tiny, replace(SPEC, width=width, height=height, num_frames=num_frames))
    assert frames.shape == (num_frames, height, width, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 1, "a picture, and not one colour"


def test_reports_every_phase_and_step(tiny: MochiVideoPipeline) -> None:
    generate(tiny, replace(SPEC, num_inference_steps=3), progress := Seen())
    assert progress.all == [
        (Phase.ENCODING_PROMPT, 0),
        (Phase.DENOISING, 0),
        (Phase.DENOISING, 1),
        (Phase.DENOISING, 2),
        (Phase.DENOISING, 3),
        (Phase.DECODING, 3),
    ]


def test_the_same_spec_gives_the_same_bytes(tiny: MochiVideoPipeline) -> None:
    assert generate(tiny, SPEC).tobytes() == generate(tiny, SPEC).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"prompt": "a blue square moving left"},
        {"negative_prompt": "a green star"},
        {"guidance_scale": 1.0},
        {"num_inference_steps": 3},
    ],
    ids=str,
)
def test_every_field_counts(tiny: MochiVideoPipeline, change: dict[str, Any]) -> None:
    assert generate(tiny, SPEC).tobytes() != generate(tiny, replace(SPEC, **change)).tobytes()


def test_a_prompt_of_any_text_and_length_is_taken_and_a_log_line_says_where_it_is_cut(
    tiny: MochiVideoPipeline,
) -> None:
    with structlog.testing.capture_logs() as logs:
        frames = generate(tiny, replace(SPEC, prompt="héllo 世界 🎬\n" * 200))
    assert len(frames) == SPEC.num_frames
    (line,) = logs
    assert (line["event"], line["field"], line["read"]) == ("prompt_cut", "prompt", 256)
    assert line["tokens"] > 256


def test_a_prompt_is_cut_where_the_model_s_tokenizer_ends(
    tiny: MochiVideoPipeline, tiny_folder: Path
) -> None:
    pipe: Any = MochiPipeline.from_pretrained(tiny_folder)  # type: ignore[no-untyped-call]
    pipe.set_progress_bar_config(disable=True)
    pipe.tokenizer.model_max_length = 64
    with structlog.testing.capture_logs() as logs:
        generate(MochiVideoPipeline(pipe, tiny.profile), replace(SPEC, prompt="a red circle " * 40))
    assert [line["read"] for line in logs] == [64]


@pytest.mark.parametrize("at", [(Phase.ENCODING_PROMPT, 0), (Phase.DENOISING, 2), (Phase.DECODING, 5)])
def test_a_stop_ends_it_at_once(tiny: MochiVideoPipeline, at: tuple[Phase, int]) -> None:
    class Stopping(Seen):
        def entered(self, phase: Phase, step: int) -> None:
            super().entered(phase, step)
            if (phase, step) == at:
                raise Stop(StopReason.CANCEL)

    with pytest.raises(Stop):
        generate(tiny, replace(SPEC, num_inference_steps=5), progress := Stopping())
    assert progress.all[-1] == at
    assert len(generate(tiny, SPEC)) == SPEC.num_frames, "the next job runs"


@pytest.mark.parametrize("guidance_scale", [1.0, 3.5])
def test_it_goes_on_from_any_step_bit_for_bit(tiny: MochiVideoPipeline, guidance_scale: float) -> None:
    spec = replace(SPEC, num_inference_steps=6, guidance_scale=guidance_scale)
    whole = tiny.denoise(spec, None, Seen())
    for stop_after in (1, 3, 5):
        part = tiny.denoise(spec, None, Seen(stop_after))
        assert part.step == stop_after
        tiny.denoise(SPEC, None, Seen())  # another job comes between
        rest = tiny.denoise(spec, part, seen := Seen())
        assert rest == whole
        assert seen.all[:2] == [(Phase.ENCODING_PROMPT, stop_after), (Phase.DENOISING, stop_after)]
        assert [step for _, step in seen.all[2:]] == list(range(stop_after + 1, 7))
    assert tiny.decode(spec, rest, Seen()).tobytes() == generate(tiny, spec).tobytes()


def test_it_goes_on_again_and_again(tiny: MochiVideoPipeline) -> None:
    spec = replace(SPEC, num_inference_steps=5)
    latents = None
    for step in range(1, 6):
        latents = tiny.denoise(spec, latents, Seen(step))
    assert latents == tiny.denoise(spec, None, Seen())


def test_the_identity_is_that_of_the_weights_wherever_they_are(
    tiny: MochiVideoPipeline, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "another host")
    again: Any = MochiPipeline.from_pretrained(tmp_path / "another host")  # type: ignore[no-untyped-call]
    assert MochiVideoPipeline(again, tiny.profile).identity == tiny.identity
    assert set(tiny.identity) == {"weights", "dtype", "torch", "diffusers"}
    with torch.no_grad():
        again.transformer.proj_out.weight.mul_(1.001)
    changed = MochiVideoPipeline(again, tiny.profile).identity
    assert {name for name in changed if changed[name] != tiny.identity[name]} == {"weights"}


def raising(error: Callable[[], object]) -> Callable[..., None]:
    def hook(*_: object) -> None:
        error()

    return hook


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def broken(tiny_folder: Path, tiny: MochiVideoPipeline) -> tuple[Any, MochiVideoPipeline]:
    """A diffusers pipeline of its own, to be broken, and the adapter over it."""
    pipe: Any = MochiPipeline.from_pretrained(tiny_folder)  # type: ignore[no-untyped-call]
    pipe.set_progress_bar_config(disable=True)
    return pipe, MochiVideoPipeline(pipe, tiny.profile)


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae.decoder"])
@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (lambda: fail(RuntimeError("secret detail")), PipelineFailed, "pipeline_error"),
        (lambda: fail(torch.OutOfMemoryError("CUDA out of memory")), OutOfMemory, "out_of_memory"),
        (lambda: torch.empty(1 << 55, dtype=torch.uint8), OutOfMemory, "out_of_memory"),  # the CPU's own
        (lambda: fail(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")), OutOfMemory, "out_of_memory"),
        (lambda: fail(MemoryError()), OutOfMemory, "out_of_memory"),
    ],
    ids=["raises", "gpu memory", "cpu memory", "cublas memory", "python memory"],
)
def test_a_failure_has_a_code_and_a_readable_reason(
    broken: tuple[Any, MochiVideoPipeline],
    part: str,
    error: Callable[[], object],
    expected: type[GenerationError],
    code: str,
) -> None:
    pipe, pipeline = broken
    hook = pipe.vae.decoder if part == "vae.decoder" else getattr(pipe, part)
    handle = hook.register_forward_pre_hook(raising(error))
    with pytest.raises(expected) as raised, structlog.testing.capture_logs() as logs:
        generate(pipeline, SPEC)
    assert [line["event"] for line in logs] == ["pipeline_failed"]
    assert raised.value.job_error().code == code
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None, "it would keep the failed job's tensors alive"
    handle.remove()
    assert len(generate(pipeline, SPEC)) == SPEC.num_frames, "the next job runs"


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae.decoder"])
@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
    ids=["torch's own", "plain", "library"],
)
def test_a_broken_gpu_is_no_failure_of_the_job_and_is_not_touched_again(
    broken: tuple[Any, MochiVideoPipeline], part: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, pipeline = broken
    hook = pipe.vae.decoder if part == "vae.decoder" else getattr(pipe, part)
    done: list[str] = []

    def lose() -> None:
        done.append("lost")
        fail(error)

    hook.register_forward_pre_hook(raising(lose))
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", lambda: done.append("released"))
    with pytest.raises(DeviceLost) as raised, structlog.testing.capture_logs() as logs:
        generate(pipeline, SPEC)
    assert [line["event"] for line in logs] == ["pipeline_failed"]
    assert str(raised.value) == str(error).splitlines()[0]
    assert raised.value.__context__ is None
    assert done[-1] == "lost", "the GPU is not touched again"


def test_a_broken_gpu_may_show_only_when_its_memory_is_freed(
    broken: tuple[Any, MochiVideoPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, pipeline = broken
    error = RuntimeError("CUDA error: unspecified launch failure")
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", lambda: fail(error))
    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        pipeline.denoise(SPEC, None, Seen())


@pytest.mark.parametrize(("part", "where"), [("transformer", "denoising"), ("vae", "decoding")])
def test_invalid_numbers_are_no_video(broken: tuple[Any, MochiVideoPipeline], part: str, where: str) -> None:
    pipe, pipeline = broken
    weights = pipe.transformer.proj_out.weight if part == "transformer" else pipe.vae.decoder.proj_out.weight
    with torch.no_grad():
        weights.fill_(float("nan"))
    with pytest.raises(InvalidFrames, match=where) as raised:
        generate(pipeline, SPEC)
    assert raised.value.job_error().code == "invalid_frames"
