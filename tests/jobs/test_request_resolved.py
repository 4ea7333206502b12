"""Deadlines, durations and defaults: how what was left open is filled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidRequest
from jobs.request import MAX_SEED, draw_seed, resolve
from tests.jobs.request_support import MOCHI, PROMPT, QUEUES, TINY, asked, parse, wrong

# Deadlines


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31t12:00:00z", "2030-01-31T12:00:00Z"),
        ("2030-01-31 12:00:00.5+00:00", "2030-01-31T12:00:00.500000Z"),
        ("2030-01-31T12:00:00.123456789+05:30", "2030-01-31T06:30:00.123456Z"),
        ("2030-12-31T23:30:00-01:00", "2031-01-01T00:30:00Z"),
    ],
)
def test_deadlines_that_are_taken(text: str, utc: str) -> None:
    spec = resolve(parse(asked(deadline=text)), MOCHI, QUEUES, 1)
    assert spec.deadline == utc


def test_a_deadline_in_microseconds() -> None:
    spec = resolve(parse(asked(deadline="1970-01-01T00:00:01.000002Z")), MOCHI, QUEUES, 1)
    assert spec.deadline_us == 1_000_002
    assert resolve(parse(PROMPT), MOCHI, QUEUES, 1).deadline_us is None


@pytest.mark.parametrize(
    "value",
    [
        "tomorrow",
        "",
        "2030-01-31",
        "2030-01-31T12:00:00",  # no time zone
        "20300131T120000Z",  # ISO 8601, not RFC 3339
        "2030-W05-4T12:00:00Z",
        "2030-01-31T12:00Z",
        "2030-02-30T12:00:00Z",
        "2030-01-31T25:00:00Z",
        "2030-01-31T12:00:00+25:00",
        "0001-01-01T00:00:00+23:59",  # before the first year in UTC
        "9999-12-31T23:59:59-23:59",  # after the last one
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "٢٠٣٠-01-31T12:00:00Z",
        1900000000,
        True,
        ["2030-01-31T12:00:00Z"],
    ],
)
def test_deadlines_that_are_refused(value: object) -> None:
    errors = wrong(asked(deadline=value))
    assert list(errors) == ["deadline"]
    assert "RFC 3339 with a time zone" in errors["deadline"][1]


# Nothing left open


def test_defaults_are_those_of_the_profile() -> None:
    spec = resolve(parse(PROMPT), MOCHI, QUEUES, 42)
    assert (spec.width, spec.height, spec.num_frames, spec.fps) == (848, 480, 85, 30)
    assert (spec.num_inference_steps, spec.guidance_scale, spec.seed) == (64, 4.5, 42)
    assert (spec.negative_prompt, spec.deadline) == ("", None)
    assert spec.queue == "long-high"


def test_a_model_may_have_a_negative_prompt_of_its_own() -> None:
    assert resolve(parse(PROMPT, TINY), TINY, QUEUES, 42).negative_prompt == "a shape"
    for asked_for in ("", "a star"):
        request = parse(asked(negative_prompt=asked_for), TINY)
        assert resolve(request, TINY, QUEUES, 42).negative_prompt == asked_for


def test_what_was_asked_wins() -> None:
    request = parse(
        asked(
            width=480, height=320, num_frames=7, quality="low", guidance_scale=1, seed=0, negative_prompt="x"
        )
    )
    spec = resolve(request, MOCHI, QUEUES, 42)
    assert (spec.width, spec.height, spec.num_frames, spec.num_inference_steps) == (480, 320, 7, 24)
    assert (spec.guidance_scale, spec.seed, spec.negative_prompt) == (1.0, 0, "x")
    assert spec.queue == "short-low"
    assert resolve(parse(asked(queue="short-low")), MOCHI, QUEUES, 1).queue == "short-low"


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.23, 7), (0.3, 7), (0.35, 13), (1, 31), (1.0, 31), (2, 61), (2.75, 85), (5.43, 163), (5.5, 163)],
)
def test_durations_are_rounded_to_frames(seconds: float, frames: int) -> None:
    assert resolve(parse(asked(duration_seconds=seconds)), MOCHI, QUEUES, 1).num_frames == frames


@given(st.floats(0.01, 7, allow_nan=False))
def test_a_duration_is_never_far_off(seconds: float) -> None:
    try:
        request = parse(asked(duration_seconds=seconds))
    except InvalidRequest:
        assert not 7 / 30 <= seconds <= 163 / 30
    else:
        frames = resolve(request, MOCHI, QUEUES, 1).num_frames
        assert MOCHI.num_frames.allows(frames)
        assert abs(frames - seconds * 30) <= 3 + 1e-6


def test_seeds_are_drawn_from_all_that_javascript_keeps() -> None:
    seeds = {draw_seed() for _ in range(200)}
    assert len(seeds) == 200
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
