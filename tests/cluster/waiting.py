"""Waiting for what happens on a cluster, with a deadline. What was seen last is in the error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")


def until(what: str, look: Callable[[], T | None], seconds: float, every: float = 0.5) -> T:
    """The first true value that `look` gives. Fails with the last one after `seconds`.

    `look` is asked every `every` seconds: the cluster has no one place that tells of all changes.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; last seen: {seen!r}"
        time.sleep(every)
