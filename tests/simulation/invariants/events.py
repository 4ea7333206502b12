"""Events and the agenda: what is due, under which number, and that what is over means nothing."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.settings import Settings
from tests.simulation.invariants.check import Check
from tests.simulation.link import Record
from tests.simulation.log import Log, Transition

__all__ = ["CHECKS"]

_SECOND = 1_000_000  # µs
_UNCOMPLETED = 30 * _SECOND
_UNPUBLISHED = 10 * _SECOND
_REISSUES = 6


def a_stale_delivery_changes_nothing(t: Transition, log: Log, _settings: Settings) -> str | None:
    """`late` and dead letters of what the job has left behind mean nothing."""
    if t.name not in ("late", "dead_letter", "published") or t.was.terminal:
        return None
    number = int(t.arguments[2 if t.name == "published" else 1])
    newest = log.books.since.get(t.job, 0) if t.name == "dead_letter" else t.was.delivery
    leased = t.was.token and (t.was.lease_until > t.now_us or t.name != "dead_letter")
    if number >= newest and not leased and not t.was.result and t.job in t.before.credits:
        return None
    place = (t.before.credits.get(t.job), t.was) == (t.after.credits.get(t.job), t.became)
    return None if place else f"{t.name} of {number} changed {t.job}, which is at {newest}"


def the_agenda_is_kept(t: Transition, log: Log, settings: Settings) -> str | None:
    """What holds a credit is looked at in time: a lease's end, a result, an event that was lost."""
    for job, due in t.after.credits.items():
        record = t.after.records.get(job, Record())
        doubled = 2 ** min(record.reissues, _REISSUES)
        if record.result:
            latest = t.now_us + _UNCOMPLETED
        elif record.token:
            latest = record.lease_until
        elif (job, record.delivery) in log.handed_over or t.name in ("yield", "late"):
            latest = t.now_us + settings.pool_grace_seconds * _SECOND * doubled
        else:
            latest = t.now_us + max(_UNPUBLISHED, due - t.now_us if t.name == "look" else 0) * doubled
        if due > latest and t.before.credits.get(job) != due:
            return f"{job} is due {(due - latest) / 1e6:.3f} s too late"
    return None


def an_event_carries_its_time(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """A new delivery is numbered with Redis' clock, and above the ones before."""
    for job, now in t.after.records.items():
        was = t.before.records.get(job, Record())
        if now.delivery != was.delivery and not (now.delivery > was.delivery and now.delivery >= t.now_us):
            return f"{job}: {was.delivery} became {now.delivery} at {t.now_us}"
    for kind, job, _, number, *_ in t.deliveries if t.name == "reap" else ():
        if kind in ("requested", "continued") and number <= t.before.records[job].delivery:
            return f"{job}:{kind}:{number} is sent again under its old id, which a broker may drop"
    return None


def what_is_not_due_is_left_alone(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """The reaper mends what is overdue when it looks, whatever it read before."""
    due = t.before.credits.get(t.job)
    if t.name == "reap" and (due is None or due > t.now_us) and t.was != t.became:
        return f"{t.job} was not due, and is {t.became.status}"
    return None


def nothing_is_sent_for_ever(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """After six events that nobody claimed the pool is paused."""
    sent = t.name == "reap" and t.tag == "reissued"
    return (
        f"{t.job} is sent for the {t.was.reissues}th time" if sent and t.was.reissues >= _REISSUES else None
    )


CHECKS: Sequence[Check] = (
    a_stale_delivery_changes_nothing,
    the_agenda_is_kept,
    an_event_carries_its_time,
    what_is_not_due_is_left_alone,
    nothing_is_sent_for_ever,
)
