"""How long each part of a demo took: of its own doings by the clock, of the job by its milestones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from mochi.models import Milestone
from mochi.terminal import seconds

__all__ = ["Timings", "phases"]


class Timings:
    """A list of names and seconds, in the order in which they happened."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.rows.append((name, time.monotonic() - started))

    def lines(self) -> list[str]:
        """The rows for people, aligned."""
        widest = max((len(name) for name, _ in self.rows), default=0)
        return [f"{name:<{widest}}  {seconds(taken):>8}" for name, taken in self.rows]


def phases(milestones: Sequence[Milestone]) -> list[tuple[str, float]]:
    """Seconds in each phase of a job, from one milestone to the next; a phase of two attempts once."""
    taken: dict[str, float] = {}
    for milestone, follower in pairwise(milestones):
        if milestone.at is not None and follower.at is not None:
            name = (milestone.phase or milestone.status).replace("_", " ")
            taken[name] = taken.get(name, 0.0) + (follower.at - milestone.at).total_seconds()
    return list(taken.items())
