"""The shipped profiles, and what no profile may say."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.profile import FloatRange, IntRange, Profile, shipped_profile

NAMES = sorted(
    path.name.removesuffix(".json")
    for path in (resources.files("jobs") / "profiles").iterdir()
    if path.name.endswith(".json")
)


def shipped(name: str) -> Profile:
    profile = shipped_profile(name)
    assert profile is not None
    return profile


def test_both_models_have_one() -> None:
    assert NAMES == ["mochi-1-preview", "tiny-mochi"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_holds_together(name: str) -> None:
    profile = shipped(name)
    assert profile.name == name
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert list(profile.quality) == ["low", "medium", "high"]
    assert sorted(profile.quality.values()) == list(profile.quality.values())
    # What the model itself demands.
    assert (profile.num_frames.multiple_of, profile.num_frames.offset) == (6, 1)
    assert (profile.width.multiple_of, profile.height.multiple_of) == (16, 16)
    assert profile.num_inference_steps.min >= 2
    assert profile.num_frames.allows(profile.num_frames.max)
    assert profile.fps == 30


def test_mochi_is_as_its_authors_made_it() -> None:
    profile = shipped("mochi-1-preview")
    assert (profile.width.default, profile.height.default) == (848, 480)
    assert (profile.num_frames.min, profile.num_frames.max) == (7, 163)
    assert (profile.num_inference_steps.min, profile.num_inference_steps.max) == (2, 200)
    assert profile.quality == {"low": 24, "medium": 40, "high": 64}


def test_a_hub_name_finds_its_profile() -> None:
    assert shipped_profile("genmo/mochi-1-preview") == shipped("mochi-1-preview")
    assert shipped_profile("hf://genmo/mochi-1-preview") == shipped("mochi-1-preview")


@pytest.mark.parametrize("name", ["", "another", "genmo/", "../profiles", "..", "none"])
def test_an_unknown_model_has_none(name: str) -> None:
    assert shipped_profile(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_grows_with_the_work(name: str) -> None:
    profile = shipped(name)
    smallest = profile.estimate_seconds(profile.width.min, profile.height.min, 7, 2)
    usual = profile.estimate_seconds(
        profile.width.default, profile.height.default, profile.num_frames.default, profile.quality["high"]
    )
    fewer_steps = profile.estimate_seconds(
        profile.width.default, profile.height.default, profile.num_frames.default, profile.quality["low"]
    )
    assert 0 < smallest < fewer_steps < usual
    assert smallest <= profile.short_seconds


def test_the_tiny_model_takes_seconds_and_has_both_classes_of_work() -> None:
    tiny = shipped("tiny-mochi")
    usual = tiny.estimate_seconds(64, 64, 61, 24)
    assert 1 < usual < 10
    longest = tiny.estimate_seconds(128, 128, tiny.num_frames.max, tiny.num_inference_steps.max)
    assert tiny.short_seconds < longest < 120


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (IntRange(min=2, max=200, default=64), [2, 64, 200], [1, 0, -1, 201]),
        (IntRange(min=7, max=163, default=85, multiple_of=6, offset=1), [7, 13, 163], [1, 8, 12, 164, 169]),
        (IntRange(min=64, max=848, default=848, multiple_of=16), [64, 480, 848], [0, 16, 72, 850, 864, -64]),
    ],
    ids=str,
)
def test_integers(rule: IntRange, yes: list[int], no: list[int]) -> None:
    assert all(rule.allows(value) for value in yes)
    assert not any(rule.allows(value) for value in no)
    assert str(rule.min) in str(rule)
    assert str(rule.max) in str(rule)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": 5}, "name"),
        ({"fps": 0}, "fps"),
        ({"width": {"min": 1, "max": 2, "default": 3}}, "default 3 is not among 1 to 2"),
        ({"width": {"min": 1, "max": 2, "default": 1, "multiple_of": 0}}, "multiple_of"),
        ({"guidance_scale": {"min": 1, "max": 2, "default": 3}}, "default 3 is not among 1 to 2"),
        ({"guidance_scale": {"min": 1, "max": "nan", "default": 1}}, "finite"),
        ({"max_pixels": 1000}, "max_pixels"),
        ({"quality": {}}, "quality"),
        ({"quality": {"low": 1}}, "quality low: 1 steps"),
        ({"estimate": {"base": 1, "per_step": 0, "decode": 1}}, "per_step"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_profile_that_does_not_hold_together(changes: dict[str, Any], problem: str) -> None:
    text = json.dumps({**json.loads(shipped("tiny-mochi").model_dump_json()), **changes})
    with pytest.raises(ValidationError, match=problem):
        Profile.model_validate_json(text)


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        shipped("tiny-mochi").fps = 25
    assert str(FloatRange(min=1, max=20.5, default=2)) == "1 to 20.5"
