"""Right answers out of so many, and how sure that makes us. Knows nothing of clips."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Score", "wilson"]

_Z = 1.959964  # standard deviations that hold 95 % of a normal distribution


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson's score interval, 1927), 0 to 1.

    Unlike the textbook's normal interval it says something where all are right, or none. Without any
    answer it is 0 to 1.
    """
    if of == 0:
        return 0.0, 1.0
    share, z2 = right / of, _Z * _Z
    centre = share + z2 / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low, high = ((centre + sign * spread) / (1 + z2 / of) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class Score:
    """How many of some answers were right."""

    right: int
    of: int

    @property
    def share(self) -> float:
        """0 to 1; 0 without any answer."""
        return self.right / self.of if self.of else 0.0

    def __str__(self) -> str:
        low, high = wilson(self.right, self.of)
        return f"{self.right}/{self.of} = {self.share:.1%} ({low:.1%} to {high:.1%})"
