"""The model that ships with the package: small, whole, described, and served when nobody says which."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.prompt_following.behaviour import ODD_PROMPTS
from bench.prompt_following.scores import wilson
from inference_service.mochi_loading import load_mochi
from inference_service.tiny_model import TRAINED, ModelParts, tiny_model_folder
from jobs.profile import shipped_profile
from jobs.settings import DEFAULT_MODEL
from tests.inference_service.support import SPEC, generate

_MOST_BYTES = 15_000_000
ROOT = Path(__file__).parents[2]


def no_other(_parts: ModelParts, _folder: Path) -> None:
    raise AssertionError("a random model is built though there is a trained one")


def test_it_is_what_is_served_by_default(tmp_path: Path) -> None:
    assert tiny_model_folder(tmp_path, no_other) == TRAINED


def test_it_is_a_small_folder_of_safetensors_with_its_card() -> None:
    files = [path for path in TRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= _MOST_BYTES
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    index = json.loads((TRAINED / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == "MochiPipeline"
    # Whoever changes the card in training/ changes the model's, and the other way round.
    assert (TRAINED / "README.md").read_bytes() == (ROOT / "training" / "MODEL_CARD.md").read_bytes()


def test_the_scores_of_its_card_are_those_of_what_is_served() -> None:
    profile = shipped_profile(DEFAULT_MODEL)
    assert profile is not None
    steps, guidance = profile.num_inference_steps.default, profile.guidance_scale.default
    card = " ".join((TRAINED / "README.md").read_text("utf-8").split())
    assert f"{profile.num_frames.default} frames, {steps} steps, guidance {guidance:g}, in float32" in card
    assert f"{profile.num_frames.min} to {profile.num_frames.max} frames (6k + 1)" in card


def test_the_scores_of_its_card_have_their_intervals_and_are_those_of_the_readme() -> None:
    card = (TRAINED / "README.md").read_text("utf-8")
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    rows = re.findall(r"\| (.+) \| (\d+) of (\d+)(?: each)? \| ([\d.]+) to ([\d.]+) % \|", card)
    assert len(rows) >= 5
    for what, right, of, *said in rows:
        interval = [100 * end for end in wilson(int(right), int(of))]
        assert [float(end) for end in said] == pytest.approx(interval, abs=0.051), what
        if what in ("background", "exactly one object", "shape") and right != of:  # "all of them" otherwise
            assert f" {int(right) / int(of):.1%}".replace("%", " %") in readme, what


def test_a_seed_is_one_clip_and_another_seed_another() -> None:
    pipeline = load_mochi(TRAINED, DEFAULT_MODEL)
    assert pipeline.profile == shipped_profile(DEFAULT_MODEL)
    one, again = generate(pipeline, SPEC), generate(pipeline, SPEC)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, generate(pipeline, replace(SPEC, seed=SPEC.seed + 1)))


@pytest.mark.parametrize("prompt", ODD_PROMPTS.values(), ids=ODD_PROMPTS)
def test_any_prompt_makes_a_clip(prompt: str) -> None:
    frames = generate(load_mochi(TRAINED, DEFAULT_MODEL), replace(SPEC, prompt=prompt))
    assert frames.shape == (SPEC.num_frames, SPEC.height, SPEC.width, 3)
    assert frames.std() > 0
