"""Calls of `:predict`, the check of the books, and what Redis refuses."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.settings import Settings
from tests.simulation.invariants.check import Check
from tests.simulation.log import Log, Transition

__all__ = ["CHECKS"]

_AT_ONCE = 8  # the argument of `submit` that says so


def a_call_takes_nobodys_turn(t: Transition, _log: Log, settings: Settings) -> str | None:
    """`:predict` gets a free credit beside which nobody waits, or leaves nothing behind."""
    if t.name != "submit" or t.arguments[_AT_ONCE] != "1":
        return None
    if t.tag == "busy":
        return None if t.before == t.after else f"{t.job} was refused and changed something"
    if t.tag != "created" or t.was.status:
        return None
    free = len(t.before.credits) < settings.pool_limit
    if t.before.waiting or not free or t.before.paused_until > t.now_us:
        return (
            f"{t.job} is begun at once beside {sorted(t.before.waiting)} and {len(t.before.credits)} credits"
        )
    return None if t.job in t.after.credits else f"{t.job} is begun without a credit"


def the_books_are_right(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """The check of the books never finds anything to mend."""
    return f"mended: {t.extra[1:]}" if t.name == "audit" and len(t.extra) > 1 else None


CHECKS: Sequence[Check] = (a_call_takes_nobodys_turn, the_books_are_right)
