"""What an invariant is: a named function that says what is wrong about a transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jobs.settings import Settings
from tests.simulation.log import Log, Transition

__all__ = ["Check", "Violation"]

#: Says what is wrong, or None.
Check: TypeAlias = Callable[[Transition, Log, Settings], str | None]


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        self.invariant, self.what = invariant, what
        super().__init__(f"{invariant}: {what}")

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        return type(self), (self.invariant, self.what)
