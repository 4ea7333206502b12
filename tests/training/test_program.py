"""The whole program with a budget of a few steps: it writes a Mochi, and a kill changes nothing of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from inference_service.mochi_loading import load_mochi
from tests.inference_service.support import SPEC, generate
from training.__main__ import main
from training.clips import HELD_OUT, SHAPES, Combination, draw_clip, prompt_for, render
from training.denoiser import fit_for_training, new_transformer, shares
from training.latents import Cache, cached_clip
from training.loop import keep_to
from training.vae import VaeTask, new_vae, to_tensor
from training.words import new_text_encoder, new_tokenizer, spell_alike

CARD = Path(__file__).parents[2] / "training" / "MODEL_CARD.md"

STEPS = ("--vae-steps", "2", "--denoiser-steps", "6", "--clips", "6", "--no-samples", "--save-seconds", "0")


def arguments(folder: Path) -> list[str]:
    return ["--out", str(folder), *STEPS]


def weights(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "tiny-mochi").rglob("*.safetensors"))
    assert len(files) == 3
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    main(arguments(folder))
    return folder


def test_the_model_is_loaded_as_any_mochi(uninterrupted: Path) -> None:
    made = uninterrupted / "tiny-mochi"
    pipeline = load_mochi(made, "tiny-mochi")
    assert generate(pipeline, replace(SPEC, width=64, height=64)).shape == (7, 64, 64, 3)
    assert sum(file.stat().st_size for file in made.rglob("*")) < 15 * 2**20
    assert (made / "README.md").read_text("utf-8").startswith("---\nlicense: apache-2.0\n")


def test_a_latent_of_the_cache_is_that_of_its_clip_as_the_model_normalises_it(uninterrupted: Path) -> None:
    cache = Cache(uninterrupted, 6, 1)
    made, vae = uninterrupted / "tiny-mochi" / "vae", new_vae(0)
    vae.load_state_dict(load_file(made / "diffusion_pytorch_model.safetensors"))
    config = json.loads((made / "config.json").read_text("utf-8"))
    mean, std = (
        np.array(config[name], np.float32).reshape(12, 1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    with torch.no_grad():
        again = [
            vae.encode(to_tensor(render(clip)[None])).latent_dist.mean[0].numpy() for clip in cache.clips
        ]
    squares = np.array(
        [[np.square((one - mean) / std - other).mean() for other in cache.latents] for one in again]
    )
    assert squares.argmin(axis=1).tolist() == [0, 1, 2, 3, 4, 5]
    assert squares.diagonal().max() < 0.05  # the model's weights are float16
    axes = (0, 2, 3, 4)
    assert cache.latents.mean(axes) == pytest.approx(np.zeros(12), abs=1e-3)
    assert cache.latents.std(axes) == pytest.approx(np.ones(12), abs=1e-3)


@pytest.mark.timeout(300)  # three starts of torch, on a machine that may have other work
def test_killed_twice_and_started_again_it_makes_the_same_model(uninterrupted: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for begun in ("vae/whole: ", "denoiser/all: "):  # phases that are not the first of their stage
        process = subprocess.Popen([sys.executable, "-m", "training", *arguments(tmp_path)])
        try:
            deadline = time.monotonic() + 100
            while not (log.exists() and begun in log.read_text("utf-8")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert not (tmp_path / "tiny-mochi").exists()
    main(arguments(tmp_path))
    again = re.findall(r"(\w+): going on at step (\d+)", log.read_text("utf-8"))
    assert {task for task, _ in again} == {"vae", "denoiser"}
    assert all(int(step) > 0 for _, step in again)
    assert weights(tmp_path) == weights(uninterrupted)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    keep_to(tmp_path, seed=1, clips=6)
    with pytest.raises(SystemExit, match="cannot go on"):
        main([*arguments(tmp_path), "--seed", "2"])
    assert not (tmp_path / "vae.pt").exists()


def test_no_part_is_trained_on_what_is_held_out() -> None:
    vae, rng = VaeTask(1), np.random.default_rng(0)
    batches = [vae.drawn(phase.name, rng)[0] for phase in vae.phases for _ in range(300)]
    for seen in (
        {clip.combination for batch in batches for clip in batch},
        {cached_clip(1, index).combination for index in range(1000)},
    ):
        assert len(seen) > 130  # of 140
        assert not seen & set(HELD_OUT)


def test_stars_and_what_silence_shows_are_drawn_more_often() -> None:
    kinds = [*((shape, "up") for shape in SHAPES), ("circle", "still")]
    clips = [replace(cached_clip(1, 0), combination=Combination(s, "red", d)) for s, d in kinds]
    assert dict(zip(kinds, 9 * shares(clips), strict=True)) == pytest.approx(
        {k: 4 if k == ("circle", "still") else 2 if k[0] == "star" else 1 for k in kinds}
    )


def test_a_prompt_of_ours_is_half_of_what_is_read_at_most(tmp_path: Path) -> None:
    new_tokenizer().save_pretrained(tmp_path)
    tokenizer = transformers.T5Tokenizer.from_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    prompts = [prompt_for(draw_clip(rng), rng) for _ in range(2000)]
    read = tokenizer(prompts).input_ids
    assert max(map(len, read)) <= tokenizer.model_max_length // 2
    assert not any(tokenizer.unk_token_id in tokens for tokens in read)
    assert f"first {tokenizer.model_max_length} tokens" in CARD.read_text("utf-8")


@pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi asks for float32 there
def test_its_attention_is_that_of_the_pipeline() -> None:
    model = new_transformer()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        inputs = torch.randn(2, 12, 3, 8, 8), torch.randn(2, 9, 64), torch.tensor([100.0, 700.0])
        mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
        before = model(*inputs, mask).sample
        positions = fit_for_training(model)
        assert torch.allclose(model(*inputs, mask).sample, before, atol=1e-5)
        positions.at = torch.tensor([0, 1, 2])
        assert torch.allclose(model(*inputs, mask).sample, before, atol=1e-5)
        positions.at = torch.tensor([0, 5, 10])
        assert not torch.allclose(model(*inputs, mask).sample, before, atol=1e-3)


def test_capitals_are_read_as_small_letters() -> None:
    tokenizer, encoder = new_tokenizer(), new_text_encoder()
    spell_alike(encoder)
    with torch.no_grad():
        one, other = (
            encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state.numpy()
            for text in ("a red CIRCLE, Zq", "A Red circle, zQ")
        )
    assert np.array_equal(one, other)
