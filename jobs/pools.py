"""A pool as the script saw it, and how long a job of it waits by the measured GPU time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["PoolView", "QueueView"]


@dataclass(frozen=True)
class QueueView:
    """A queue of the pool."""

    waiting: int  # jobs in its backlog
    measured_us: float | None  # GPU time of its jobs; None before the first has completed
    weight: float


@dataclass(frozen=True)
class PoolView:
    """The pool as the script saw it."""

    now_us: int
    paused_until_us: int
    credits: int  # held
    measured_us: float | None  # GPU time of a job, over all queues
    queues: Mapping[str, QueueView]

    @classmethod
    def read(cls, answer: Sequence[Any]) -> Self:
        """From the script's answer."""
        now, paused_until, held, measured, queues = answer
        return cls(
            now_us=int(now),
            paused_until_us=int(paused_until),
            credits=int(held),
            measured_us=_number(measured),
            queues={
                name: QueueView(int(waiting), _number(own), float(weight))
                for name, waiting, own, weight in queues
            },
        )

    @property
    def paused_seconds(self) -> float:
        """Until the pause ends; 0 where there is none."""
        return max(0, self.paused_until_us - self.now_us) / 1e6

    def wait_seconds(self, queue: str, position: int, estimate_us: float, limit: int) -> float:
        """Until a job of `queue` with `position` jobs before it starts, by the measured GPU time.

        What is in flight is half done on average. Of the other queues' work, as much goes before as their
        weights allow.
        """
        typical = self.measured_us or estimate_us
        own = self.queues.get(queue) or QueueView(position, None, 1.0)
        before = position * (own.measured_us or typical)
        others = sum(
            min(view.waiting * (view.measured_us or typical), before * view.weight / own.weight)
            for name, view in self.queues.items()
            if name != queue
        )
        in_flight = typical / 2 if self.credits >= limit else 0
        spread = (before + others) / limit + in_flight / min(limit, max(1, self.credits))
        return self.paused_seconds + spread / 1e6


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
