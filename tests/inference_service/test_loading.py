from __future__ import annotations

from pathlib import Path

import pytest

from inference_service.loading import load_pipeline, usable_cores
from inference_service.null_pipeline import NullPipeline
from inference_service.profile import read_profile
from jobs.errors import ConfigurationError
from jobs.job import Phase
from jobs.profile import shipped_profile
from jobs.settings import Settings
from tests.inference_service.support import SPEC

PREVIEW_TRANSFORMER = {
    "num_layers": 48,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "patch_size": 2,
}
PREVIEW_VAE = {
    "decoder_block_out_channels": (128, 256, 512, 768),
    "spatial_expansions": (2, 2, 2),
    "temporal_expansions": (1, 2, 3),
}


def test_the_default_is_the_tiny_model(model_scratch: Path) -> None:
    assert load_pipeline(Settings(scratch_dir=model_scratch)).profile == shipped_profile("tiny-mochi")


def test_a_folder_wins_over_a_name(tiny_folder: Path) -> None:
    pipeline = load_pipeline(Settings(model_dir=tiny_folder, model_name="none"))
    assert pipeline.profile.name == tiny_folder.name


def test_no_model_makes_grey_frames() -> None:
    pipeline = load_pipeline(Settings(model_name="none"))
    assert isinstance(pipeline, NullPipeline)
    seen: list[tuple[Phase, int]] = []
    frames = pipeline.generate(SPEC, lambda phase, step: seen.append((phase, step)))
    assert frames.shape == (7, 32, 32, 3)
    assert [phase for phase, _ in seen] == [
        Phase.ENCODING_PROMPT,
        Phase.DENOISING,
        Phase.DENOISING,
        Phase.DECODING,
    ]


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"^MODEL_DIR=.*cannot be loaded: .+") as raised:
        load_pipeline(Settings(model_dir=tmp_path))
    assert "\n" not in str(raised.value)


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^MODEL_DIR=.*no such folder$"):
        load_pipeline(Settings(model_dir=tmp_path / "nothing"))


def test_a_profile_read_from_the_preview_is_the_shipped_one() -> None:
    shipped = shipped_profile("mochi-1-preview")
    assert read_profile("mochi-1-preview", PREVIEW_TRANSFORMER, PREVIEW_VAE, on_gpu=True) == shipped


def test_a_smaller_model_is_estimated_faster_and_a_cpu_slower() -> None:
    half = {**PREVIEW_TRANSFORMER, "num_layers": 24}
    whole_gpu = read_profile("m", PREVIEW_TRANSFORMER, PREVIEW_VAE, on_gpu=True).estimate
    half_gpu = read_profile("m", half, PREVIEW_VAE, on_gpu=True).estimate
    whole_cpu = read_profile("m", PREVIEW_TRANSFORMER, PREVIEW_VAE, on_gpu=False).estimate
    assert half_gpu.per_step == pytest.approx(whole_gpu.per_step / 2)
    assert whole_cpu.per_step > whole_gpu.per_step


def test_a_larger_patch_asks_for_larger_multiples() -> None:
    profile = read_profile("m", {**PREVIEW_TRANSFORMER, "patch_size": 4}, PREVIEW_VAE, on_gpu=True)
    assert profile.width.multiple_of == 32
    assert profile.width.allows(profile.width.max)
    assert profile.width.allows(profile.width.min)


def test_a_vae_that_the_pipeline_cannot_drive_is_refused() -> None:
    with pytest.raises(ValueError, match="compresses 4x in space"):
        read_profile("m", PREVIEW_TRANSFORMER, {**PREVIEW_VAE, "spatial_expansions": (2, 2, 1)}, on_gpu=True)


def test_cores_are_counted() -> None:
    assert usable_cores() >= 1
