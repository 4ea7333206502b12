"""The real MochiPipeline with the tiny model's random weights."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from diffusers import MochiPipeline

import inference_service
from inference_service.mochi_pipeline import MochiVideoPipeline, build_model, load_mochi
from inference_service.pipeline import (
    GenerationError,
    InvalidFrames,
    OutOfMemory,
    PipelineFailed,
    Stop,
    StopReason,
)
from inference_service.tiny_model import TINY_MOCHI
from jobs.job import Phase
from jobs.profile import shipped_profile
from tests.inference_service.support import SPEC

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


def silent(_phase: Phase, _step: int) -> None:
    """A report that nobody reads."""


@pytest.mark.parametrize(("width", "height", "num_frames"), [(32, 32, 7), (48, 32, 13), (32, 64, 7)], ids=str)
def test_makes_exactly_the_asked_frames(
    tiny: MochiVideoPipeline, width: int, height: int, num_frames: int
) -> None:
    frames = tiny.generate(replace(SPEC, width=width, height=height, num_frames=num_frames), silent)
    assert frames.shape == (num_frames, height, width, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 1, "a picture, and not one colour"


def test_reports_every_phase_and_step(tiny: MochiVideoPipeline) -> None:
    seen: list[tuple[Phase, int]] = []
    tiny.generate(replace(SPEC, num_inference_steps=3), lambda phase, step: seen.append((phase, step)))
    assert seen == [
        (Phase.ENCODING_PROMPT, 0),
        (Phase.DENOISING, 0),
        (Phase.DENOISING, 1),
        (Phase.DENOISING, 2),
        (Phase.DENOISING, 3),
        (Phase.DECODING, 3),
    ]


def test_the_same_spec_gives_the_same_bytes(tiny: MochiVideoPipeline) -> None:
    assert tiny.generate(SPEC, silent).tobytes() == tiny.generate(SPEC, silent).tobytes()


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
    assert tiny.generate(SPEC, silent).tobytes() != tiny.generate(replace(SPEC, **change), silent).tobytes()


def test_a_prompt_of_any_text_and_length_is_taken_and_a_log_line_says_where_it_is_cut(
    tiny: MochiVideoPipeline,
) -> None:
    with structlog.testing.capture_logs() as logs:
        frames = tiny.generate(replace(SPEC, prompt="héllo 世界 🎬\n" * 200), silent)
    assert len(frames) == SPEC.num_frames
    (line,) = logs
    assert (line["event"], line["field"], line["read"]) == ("prompt_cut", "prompt", 256)
    assert line["tokens"] > 256


@pytest.mark.parametrize("at", [(Phase.ENCODING_PROMPT, 0), (Phase.DENOISING, 2), (Phase.DECODING, 5)])
def test_a_stop_ends_it_at_once(tiny: MochiVideoPipeline, at: tuple[Phase, int]) -> None:
    seen: list[tuple[Phase, int]] = []

    def report(phase: Phase, step: int) -> None:
        seen.append((phase, step))
        if (phase, step) == at:
            raise Stop(StopReason.CANCEL)

    with pytest.raises(Stop):
        tiny.generate(replace(SPEC, num_inference_steps=5), report)
    assert seen[-1] == at
    assert len(tiny.generate(SPEC, silent)) == SPEC.num_frames, "the next job runs"


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
        pipeline.generate(SPEC, silent)
    assert [line["event"] for line in logs] == ["pipeline_failed"]
    assert raised.value.job_error().code == code
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None, "it would keep the failed job's tensors alive"
    handle.remove()
    assert len(pipeline.generate(SPEC, silent)) == SPEC.num_frames, "the next job runs"


@pytest.mark.parametrize(("part", "where"), [("transformer", "denoising"), ("vae", "decoding")])
def test_invalid_numbers_are_no_video(broken: tuple[Any, MochiVideoPipeline], part: str, where: str) -> None:
    pipe, pipeline = broken
    weights = pipe.transformer.proj_out.weight if part == "transformer" else pipe.vae.decoder.proj_out.weight
    with torch.no_grad():
        weights.fill_(float("nan"))
    with pytest.raises(InvalidFrames, match=where) as raised:
        pipeline.generate(SPEC, silent)
    assert raised.value.job_error().code == "invalid_frames"


def test_a_known_name_has_the_shipped_profile(tiny: MochiVideoPipeline) -> None:
    assert tiny.profile == shipped_profile("tiny-mochi")


def test_an_unknown_model_of_other_sizes_has_a_profile_of_its_own_and_works(tmp_path: Path) -> None:
    sizes = {"num_attention_heads": 2, "num_layers": 1}
    mean = {"latents_mean": (0.5,) * 12, "latents_std": (2.0,) * 12}
    parts = replace(
        TINY_MOCHI,
        transformer={**TINY_MOCHI.transformer, **sizes},
        vae={**TINY_MOCHI.vae, **mean, "decoder_block_out_channels": (32, 32, 64, 64)},
    )
    build_model(parts, tmp_path)
    pipeline = load_mochi(tmp_path, "somebodys-mochi")
    profile = pipeline.profile
    assert profile.name == "somebodys-mochi"
    assert profile.width.multiple_of == profile.height.multiple_of == 16
    assert (profile.num_frames.multiple_of, profile.num_frames.offset) == (6, 1)
    assert pipeline.generate(SPEC, silent).shape == (7, 32, 32, 3)


def test_weights_in_bfloat16_alone_are_taken(tmp_path: Path, tiny_folder: Path) -> None:
    pipe: Any = MochiPipeline.from_pretrained(tiny_folder)  # type: ignore[no-untyped-call]
    pipe.to(torch.bfloat16).save_pretrained(tmp_path, variant="bf16")
    assert len(load_mochi(tmp_path, "bf16").generate(SPEC, silent)) == SPEC.num_frames


def test_one_file_imports_diffusers() -> None:
    importers = [
        path.name
        for path in Path(inference_service.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "diffusers")
        or (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "diffusers" for a in node.names))
    ]
    assert set(importers) == {"mochi_pipeline.py"}
