"""What goes wrong in a run: some kinds of faults, drawn with the world, each with its own rate.

Not all kinds at once: a run with all of them never gets far enough for the rare ones to matter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

__all__ = ["KINDS", "Faults"]

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
}


class Faults:
    """Draws what goes wrong, and counts it."""

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        """`only`: of these kinds, whatever the seed says."""
        draw = random.Random(f"faults {seed}")
        self.random = random.Random(f"points {seed}")
        chosen = [kind for kind in KINDS if draw.random() < 0.3] if only is None else sorted(only)
        # Draw a rate for each kind, chosen or not: the others' do not depend on it.
        rates = {kind: most * draw.choice((0.3, 1.0)) for kind, most in KINDS.items()}
        self.rates = {kind: rates[kind] for kind in chosen}
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
