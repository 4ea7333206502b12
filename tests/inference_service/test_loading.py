from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_service.loading import load_pipeline, usable_cores
from inference_service.null_pipeline import NullPipeline
from inference_service.profile import read_profile
from jobs.errors import ConfigurationError
from jobs.job import Phase
from jobs.profile import shipped_profile
from jobs.settings import Settings
from tests.inference_service.support import SPEC, Seen, generate

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
    frames = generate(pipeline, SPEC, progress := Seen())
    assert frames.shape == (7, 32, 32, 3)
    steps = SPEC.num_inference_steps
    denoising = [(Phase.DENOISING, step) for step in range(steps + 1)]
    assert progress.all == [(Phase.ENCODING_PROMPT, 0), *denoising, (Phase.DECODING, steps)]


def refusal(folder: Path) -> str:
    """Why the folder is no model, in one line."""
    with pytest.raises(ConfigurationError) as raised:
        load_pipeline(Settings(model_dir=folder))
    before, _, reason = str(raised.value).partition(": the model cannot be loaded: ")
    assert before == f"MODEL_DIR={folder}"
    assert len(reason) < 400
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no model_index.json"),
        ("{}", "model_index.json cannot be read"),
        ("no json", "model_index.json cannot be read"),
        ("[]", "model_index.json cannot be read"),
        ('{"_class_name": "FluxPipeline"}', "it is a FluxPipeline; only a MochiPipeline is served"),
    ],
)
def test_a_folder_without_a_model_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    assert reason in refusal(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing") == "there is no such folder"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def ask_for_a_layer_more(file: Path) -> None:
    config = json.loads(file.read_text("utf-8"))
    config["num_layers"] += 1
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (cut, "transformer/diffusion_pytorch_model.safetensors", "Unable to load weights"),
        (cut, "text_encoder/model.safetensors", "."),
        (cut, "tokenizer/tokenizer.json", "."),
        (Path.unlink, "vae/diffusion_pytorch_model.safetensors", "no file named"),
        (Path.unlink, "tokenizer/tokenizer.json", "its tokenizer has"),
        (shutil.rmtree, "tokenizer", "it has no folder tokenizer"),
        (shutil.rmtree, "vae", "it has no folder vae"),
        (ask_for_a_layer_more, "transformer/config.json", "its weights are not whole"),
        (ask_for_a_layer_more, "text_encoder/config.json", "its weights are not whole"),
    ],
)
def test_a_torn_model_is_refused(
    tmp_path: Path, tiny_folder: Path, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(tiny_folder, torn)
    damage(torn / name)
    assert re.search(reason, refusal(torn))


def test_a_model_of_the_hub_without_a_network_is_one_line(tmp_path: Path) -> None:
    # In a process of its own: the hub's client reads its settings when it is imported.
    call = (
        "from inference_service.loading import load_pipeline; from jobs.settings import Settings; import os;"
        "load_pipeline(Settings.from_environ(os.environ))"
    )
    environ = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "HF_TOKEN": "hf_secret",
        "MODEL_NAME": "hf://genmo/mochi-1-preview",
    }
    run = subprocess.run(
        [sys.executable, "-c", call], env=environ, capture_output=True, text=True, check=False
    )
    last = run.stderr.splitlines()[-1]
    assert (
        "MODEL_NAME=hf://genmo/mochi-1-preview: the model cannot be loaded: it is not in the hub's cache"
        in last
    )
    assert "hf_secret" not in run.stderr


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
