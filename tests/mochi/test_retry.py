"""Pauses: how long, and when it is enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mochi import Problem, Retry, Unavailable, Unreachable
from mochi.retry import Patience, retry_after


def test_pauses_grow_to_a_limit_and_differ() -> None:
    retry = Retry(pause=1.0, longest=10.0)
    for attempt, most in ((1, 1.0), (2, 2.0), (3, 4.0), (5, 10.0), (10_000, 10.0)):
        pauses = {retry.pause_after(attempt) for _ in range(20)}
        assert most / 2 <= min(pauses) < max(pauses) <= most
    assert retry.pause_after(1, asked=7.5) == 7.5


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": " 7 "}) == 7.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3600), usegmt=True)
    assert 3500 < (retry_after({"retry-after": soon}) or 0) <= 3600
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    for text in ("", "soon", "-1", "1.5", "٣"):
        assert retry_after({"retry-after": text}) is None
    assert retry_after({}) is None


def test_patience_ends_and_begins_anew_with_progress() -> None:
    patience = Patience(Retry(reconnects=3, pause=0.0))
    gone = Unreachable("gone")
    patience.pause_after(gone)
    patience.pause_after(gone)
    patience.progress()
    patience.pause_after(gone)
    assert patience.pause_after(Unavailable(Problem(503, "x"), retry_after=5.0)) == 5.0
    with pytest.raises(Unreachable):
        patience.pause_after(gone)


@pytest.mark.parametrize("error", [Unavailable(Problem(500, "x")), Unavailable(Problem(503, "x"), 61.0)])
def test_patience_is_not_for_what_will_not_pass(error: Unavailable) -> None:
    with pytest.raises(Unavailable):
        Patience(Retry()).pause_after(error)
