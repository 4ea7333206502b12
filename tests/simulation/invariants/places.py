"""Credits, backlogs and queues: how many, whose turn, and that nothing idles or is lost."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.settings import Settings
from tests.simulation.invariants.check import Check
from tests.simulation.link import QUEUES, Record, Seen
from tests.simulation.log import Log, Transition

__all__ = ["CHECKS"]

_SHORT_JOB = 14_000_000  # µs of GPU time of the shortest job
_PASSED = 4  # jobs of other queues that may start while the head of a queue waits


def credits_within_limit(t: Transition, _log: Log, settings: Settings) -> str | None:
    """No more credits are held than the pool has."""
    held = len(t.after.credits)
    return f"{held} of {settings.pool_limit} credits are held" if held > settings.pool_limit else None


def no_credit_is_lost(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """A job that has not ended is in exactly one of credits, backlog and delayed; one that has, in none."""
    seen = t.after
    for job, record in seen.records.items():
        queued = sum(job in jobs for jobs in (*seen.backlog.values(), *seen.delayed.values()))
        places = (job in seen.credits) + queued
        if places != (0 if record.terminal else 1):
            return f"{job}, which is {record.status}, is in {places} places"
    return None


def first_come_first_served(t: Transition, log: Log, _settings: Settings) -> str | None:
    """A job is admitted before those of its queue that came later."""
    for job in t.admitted:
        queue = t.after.records[job].queue
        for other in t.after.backlog.get(queue, ()):
            if log.books.jobs.index(other) < log.books.jobs.index(job):
                return f"{job} is admitted, and {other}, which came before it, still waits"
    return None


def no_queue_starves(t: Transition, log: Log, _settings: Settings) -> str | None:
    """While the head of a queue waits, few jobs of other queues start.

    A lease that was held for longer than usual has used the GPU too: its queue waits longer for it. A job
    that gave its credit back, or that ended before anybody claimed it, has not started: it is charged for
    what it used, which may be nothing.
    """
    for job in t.before.credits:
        if job not in t.after.credits:
            record = t.after.records[job]
            for passed in log.books.passed.values():
                if not record.terminal or passed.get(job) == record.attempt:
                    passed.pop(job, None)
    for job in t.admitted:
        log.books.passed.pop(job, None)
        for queue, waiting in t.after.backlog.items():
            if not waiting or queue == t.after.records[job].queue or waiting[0] in t.admitted:
                continue
            passed = log.books.passed[waiting[0]]
            passed[job] = t.after.records[job].attempt
            if len(passed) > _PASSED + log.books.excess[queue] / _SHORT_JOB:
                return f"{waiting[0]} waits while {len(passed)} jobs of another queue started"
    return None


def no_credit_idles(t: Transition, _log: Log, settings: Settings) -> str | None:
    """A free credit beside a job that waits means that the pool is paused, or was until the last round."""

    def idle(seen: Seen) -> bool:
        free = len(seen.credits) < settings.pool_limit
        return free and bool(seen.waiting) and seen.paused_until <= t.now_us

    if idle(t.after) and (t.name == "tick" or not idle(t.before)):
        return f"{len(t.after.waiting)} jobs wait beside a free credit"
    return None


def a_pause_is_heeded(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """While the pool is paused, no job is admitted."""
    if t.admitted and t.after.paused_until > t.now_us:
        return f"{sorted(t.admitted)} for another {(t.after.paused_until - t.now_us) / 1e6:.3f} s"
    return None


def a_credit_given_back_unworked_pauses_the_pool(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Otherwise the next job is admitted into the same hole."""
    for job in t.before.credits:
        was = t.before.records.get(job, Record())
        if was.token or was.result:
            continue
        if job in t.after.waiting and t.after.paused_until <= t.now_us:
            return f"{job} is requeued, and the pool goes on"
    return None


def a_backlog_has_a_limit(t: Transition, _log: Log, settings: Settings) -> str | None:
    """Submissions do not grow it beyond."""
    if t.name == "submit" and t.tag == "created":
        for queue in QUEUES:
            count = len(t.after.backlog[queue])
            if count > max(settings.backlog_limit, len(t.before.backlog.get(queue, ()))):
                return f"{count} jobs wait in {queue}"
    return None


def one_job_a_key(t: Transition, log: Log, _settings: Settings) -> str | None:
    """An idempotency key names one job."""
    if t.name != "submit" or t.tag != "created" or not t.arguments[6]:
        return None
    first = log.books.keys.setdefault(t.arguments[6], t.job)
    return None if first == t.job else f"one key made {first} and {t.job}"


CHECKS: Sequence[Check] = (
    credits_within_limit,
    no_credit_is_lost,
    first_come_first_served,
    no_queue_starves,
    no_credit_idles,
    a_pause_is_heeded,
    a_credit_given_back_unworked_pauses_the_pool,
    a_backlog_has_a_limit,
    one_job_a_key,
)
