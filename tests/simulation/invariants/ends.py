"""How jobs end: once, as it was recorded, and in time."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.settings import Settings
from tests.simulation.invariants.check import Check
from tests.simulation.link import Record
from tests.simulation.log import Log, Transition

__all__ = ["CHECKS"]

_REFUSALS = 3
_FRUITLESS = 3  # leases in a row without a new checkpoint


def terminal_is_final(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """A job that has ended stays as it ended."""
    for job, was in t.before.records.items():
        now = t.after.records.get(job)
        if was.terminal and now is not None and _end(was) != _end(now):
            return f"{job} was {_end(was)} and is {_end(now)}"
    return None


def _end(record: Record) -> tuple[str, str, str, int, str]:
    return record.status, record.s3_url, record.etag, record.bytes, record.result_token


def result_is_final(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """What was recorded under a lease is how the job ends."""
    if t.name == "cancel" and t.was.result and t.was != t.became:
        return f"{t.job} is cancelled after its result, {t.was.result}"
    for job, was in t.before.records.items():
        now = t.after.records.get(job)
        if was.result and now is not None and was.result not in (now.result, now.status):
            return f"{job} had the result {was.result} and is {now.status} {now.result}"
    return None


def deadlines_end_what_waits(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """After a round of the reaper no job waits beyond its deadline, and none is admitted beyond it."""
    for job in t.admitted:
        if 0 < t.after.records[job].deadline <= t.now_us:
            return f"{job} is admitted beyond its deadline"
    if t.name == "tick":
        for job in (*t.after.waiting, *(j for jobs in t.after.delayed.values() for j in jobs)):
            if 0 < t.after.records[job].deadline <= t.now_us:
                return f"{job} waits beyond its deadline"
    return None


def a_poison_job_ends(t: Transition, log: Log, _settings: Settings) -> str | None:
    """The third lease in a row without a new checkpoint is the last; so is the third refusal."""
    if log.books.fruitless[t.job] > _FRUITLESS:
        return f"{t.job} has its {log.books.fruitless[t.job]}th lease without a new checkpoint"
    if log.books.refusals[t.job] >= _REFUSALS and not t.became.terminal:
        return f"{t.job} was refused {log.books.refusals[t.job]} times"
    return None


CHECKS: Sequence[Check] = (
    terminal_is_final,
    result_is_final,
    deadlines_end_what_waits,
    a_poison_job_ends,
)
