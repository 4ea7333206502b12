"""Leases: one at a time, fenced, on the agenda, and what one that came to nothing counts."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.settings import Settings
from tests.simulation.invariants.check import Check
from tests.simulation.log import Log, Transition

__all__ = ["CHECKS"]

_SECOND = 1_000_000  # µs


def a_lease_has_a_credit(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Who works holds a credit, and so does a result that nobody has completed: it is on the agenda."""
    for job, record in t.after.records.items():
        if (record.token or record.result) and job not in t.after.credits:
            return f"{job}, leased or with the result {record.result!r}, has no credit"
    return None


def one_lease_at_a_time(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """A lease is given out only where none lives, no result is recorded and no end is due."""
    if t.name != "claim" or t.tag != "lease" or t.was.token == t.arguments[1]:
        return None
    was = t.was
    if was.token and was.lease_until > t.now_us:
        return f"{t.job} was leased for another {(was.lease_until - t.now_us) / 1e6:.3f} s"
    if was.terminal or was.result:
        return f"{t.job} was {was.status} {was.result}"
    if was.cancel:
        return f"{t.job} was cancelled before"
    if was.deadline and was.deadline <= t.now_us:
        return f"the deadline of {t.job} had passed"
    if t.job not in t.before.credits:
        return f"{t.job} had no credit"
    return None


def a_stale_token_changes_nothing(t: Transition, log: Log, _settings: Settings) -> str | None:
    """Neither does a token of an older lease, nor that of a job whose result is recorded."""
    token = {"complete": 2, "record": 2, "renew": 1, "checkpoint": 1, "unkept": 1, "yield": 1}.get(t.name)
    if token is None or not t.arguments[token]:
        return None
    if t.arguments[token] == log.newest(t.job) and not (t.was.result and t.name != "complete"):
        return None
    if t.was == t.became or t.job in t.admitted:  # whoever completes pumps
        return None
    return f"{t.name} under {t.arguments[token]} changed {t.job}"


def a_checkpoint_is_durable(t: Transition, log: Log, _settings: Settings) -> str | None:
    """A lease begins at the newest checkpoint that was accepted, and that is stored when it is pointed to."""
    if t.name == "claim" and t.tag == "lease" and t.became.checkpoint_step < log.books.kept.get(t.job, 0):
        return f"{t.job} starts at {t.became.checkpoint_step}, but {log.books.kept[t.job]} steps were kept"
    return None


def a_fruitless_lease_is_a_strike(t: Transition, log: Log, _settings: Settings) -> str | None:
    """No more and no fewer: lost events and outages are none."""
    if t.name != "claim" or t.tag != "lease" or t.was.token == t.arguments[1]:
        return None
    lost = log.books.fruitless[t.job] - 1  # without this one
    return None if t.became.strikes == lost else f"{t.job} has {t.became.strikes} strikes, and lost {lost}"


def a_heartbeat_tells(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Who holds a lease hears of a cancellation and of the deadline with the next renewal."""
    if t.name != "renew" or t.tag == "lost":
        return None
    late = 0 < t.was.deadline <= t.now_us
    said = "cancel" if t.was.cancel else "deadline" if late else "ok"
    return None if t.tag == said else f"{t.job} is told {t.tag}, not {said}"


def a_restart_costs_no_lease(t: Transition, _log: Log, settings: Settings) -> str | None:
    """When another server answers, every lease is whole again."""
    if t.name != "boot" or t.tag != "new":
        return None
    for job, record in t.after.records.items():
        short = record.lease_until < t.now_us + settings.lease_seconds * _SECOND
        if record.token and not record.result and short:
            return f"the lease of {job} was not extended"
    return None


CHECKS: Sequence[Check] = (
    a_lease_has_a_credit,
    one_lease_at_a_time,
    a_stale_token_changes_nothing,
    a_checkpoint_is_durable,
    a_fruitless_lease_is_a_strike,
    a_heartbeat_tells,
    a_restart_costs_no_lease,
)
