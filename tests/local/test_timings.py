from __future__ import annotations

from datetime import UTC, datetime, timedelta

from local.timings import Timings, phases
from mochi.models import Milestone

START = datetime(2026, 1, 1, tzinfo=UTC)


def _at(second: float, status: str, phase: str | None, attempt: int = 1) -> Milestone:
    return Milestone(START + timedelta(seconds=second), status, phase, attempt)


def test_each_phase_lasts_until_the_next() -> None:
    milestones = [
        _at(0, "pending", "waiting", 0),
        _at(1, "processing", "encoding_prompt"),
        _at(1.5, "processing", "denoising"),
        _at(4, "completed", None),
    ]
    assert phases(milestones) == [("waiting", 1.0), ("encoding prompt", 0.5), ("denoising", 2.5)]


def test_a_second_attempt_is_added_to_the_first() -> None:
    milestones = [
        _at(0, "processing", "denoising"),
        _at(2, "pending", "waiting"),
        _at(3, "processing", "denoising", 2),
        _at(6, "completed", None, 2),
    ]
    assert phases(milestones) == [("denoising", 5.0), ("waiting", 1.0)]


def test_what_is_measured_is_listed_in_its_order_even_if_it_fails() -> None:
    timings = Timings()
    with timings.measured("start"):
        pass
    try:
        with timings.measured("stop"):
            raise KeyError
    except KeyError:
        pass
    assert [name for name, _ in timings.rows] == ["start", "stop"]
    assert all(taken >= 0 for _, taken in timings.rows)


def test_for_people() -> None:
    timings = Timings()
    timings.rows = [("start", 8.25), ("denoising", 125.0)]
    assert timings.lines() == ["start         8.2 s", "denoising  2 min 05 s"]
