"""What goes wrong in a run: some kinds of faults, drawn with the world, each with its own rate.

Not all kinds at once: a run with all of them never gets far enough for the rare ones to matter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set

__all__ = ["FOCI", "KINDS", "Faults", "is_focused"]

#: Every kind, with the share of the points at which it may happen at its highest rate.
KINDS: Mapping[str, float] = {
    "function dies": 0.1,
    "function is slow": 0.1,
    "predictor dies": 0.08,
    "predictor sleeps past its lease": 0.08,
    "predictor gets SIGTERM": 0.2,
    "pool is down for a while": 0.05,
    "broker loses an event": 0.7,
    "broker delivers twice": 0.3,
    "broker is slow": 0.4,
    "broker gives up waiting": 0.5,
    "broker dies": 0.02,
    "broker refuses an event": 0.15,
    "broker takes an event and does not say so": 0.1,
    "subscriber refuses with 4xx": 0.2,
    "subscriber fails with 5xx": 0.2,
    "redis takes a call and does not answer": 0.04,
    "redis is away": 0.01,
    "redis restarts": 0.01,
    "object store is away": 0.1,
    "object store takes an object and does not say so": 0.1,
    "a round of the reaper is missed": 0.3,
    "two rounds of the reaper at once": 0.3,
    "client asks twice": 0.5,
    "client cancels": 0.6,
    "a deadline": 0.6,
    "an old result arrives": 0.5,
    "a Trigger is gone for a while": 0.05,
    "redis loses its last second": 0.01,
    "redis is out of memory": 0.01,
}

#: What goes wrong together in the worlds that are made for a guard which chance hardly ever reaches: all of
#: it, often, and nothing else.
FOCI: Sequence[Set[str]] = (
    # An event of a job that gave its credit back arrives while the job waits.
    {"broker is slow", "broker delivers twice", "subscriber fails with 5xx"},
    # No event ever arrives, until the pool is paused.
    {"a Trigger is gone for a while"},
    # A job ends where it is claimed, nobody hears of it, and an old event of it is refused.
    {
        "a deadline",
        "broker is slow",
        "broker delivers twice",
        "broker loses an event",
        "subscriber refuses with 4xx",
    },
    # A job is done, nobody hears of it, and an event of it that was slow is refused.
    {
        "broker is slow",
        "broker delivers twice",
        "broker loses an event",
        "subscriber refuses with 4xx",
        "a round of the reaper is missed",
    },
    # A predictor wakes up when its lease is over, or another's.
    {
        "predictor sleeps past its lease",
        "a round of the reaper is missed",
        "broker delivers twice",
        "broker gives up waiting",
    },
    {"predictor sleeps past its lease", "object store is away", "broker delivers twice"},
    {"client cancels", "function is slow", "broker delivers twice"},
    {"function is slow", "broker loses an event", "broker delivers twice"},
    {"broker gives up waiting", "broker is slow", "subscriber refuses with 4xx"},
    {"predictor dies", "predictor gets SIGTERM", "client cancels"},
    {"redis loses its last second", "broker delivers twice"},
    {"redis is out of memory", "redis restarts"},
    # The pool is paused, and what waited for it has ended.
    {"subscriber fails with 5xx", "client cancels", "a deadline"},
)


def is_focused(seed: int) -> bool:
    """Whether its world is made for one of FOCI."""
    return seed % 10 == 3


def _often(kind: str) -> float:
    """Its rate in a world that is about it. What kills everything is not more frequent there."""
    if kind == "predictor sleeps past its lease":
        return 0.25
    grows = kind.startswith(("broker", "subscriber"))
    return max(KINDS[kind], min(2 * KINDS[kind], 0.6)) if grows else KINDS[kind]


class Faults:
    """Draws what goes wrong, and counts it."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(f"faults {seed}")
        self.random = random.Random(f"points {seed}")
        self.rates = {}
        if is_focused(seed):
            self.rates = {kind: _often(kind) for kind in sorted(FOCI[seed // 10 % len(FOCI)])}
        elif seed % 20 != 17:  # where nothing goes wrong
            chosen = [kind for kind in KINDS if draw.random() < 0.3]
            self.rates = {kind: KINDS[kind] * draw.choice((0.3, 1.0)) for kind in chosen}
        self.counts: Counter[str] = Counter()
        self.on = True

    def happens(self, kind: str) -> bool:
        """Whether this goes wrong here and now."""
        rate = self.rates.get(kind)
        if rate is None or not self.on or self.random.random() >= rate:
            return False
        self.counts[kind] += 1
        return True

    def between(self, low: float, high: float) -> float:
        """A number of seconds."""
        return self.random.uniform(low, high)
