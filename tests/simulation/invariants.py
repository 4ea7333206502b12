"""The invariants, each one named function.

Those of `ALWAYS` are checked around every transition, from the log and from what is seen in Redis;
the others when work is begun, when an event is handed over, and at the end of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventing.events import Event
from jobs.settings import Settings
from tests.simulation.link import QUEUES, Record, Seen
from tests.simulation.log import Grant, Log, Step, Transition
from tests.simulation.storage import Objects

__all__ = ["ALWAYS", "BY_NAME", "Invariants", "Violation"]

_SECOND = 1_000_000
_UNCOMPLETED = 30 * _SECOND
_UNPUBLISHED = 10 * _SECOND
_FRUITLESS = 3  # leases in a row without a new checkpoint
_REFUSALS = 3
_REISSUES = 6
_SHORT_JOB = 14 * _SECOND  # GPU time of the shortest job
_USUAL = 20 * _SECOND  # GPU time of a lease that meets no fault
_PASSED = 4  # jobs of other queues that may start while the head of a queue waits


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        self.invariant, self.what = invariant, what
        super().__init__(f"{invariant}: {what}")

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        return type(self), (self.invariant, self.what)


Check = Callable[[Transition, Log, Settings], str | None]


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


def a_lease_has_a_credit(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Who works holds a credit."""
    for job, record in t.after.records.items():
        if record.token and job not in t.after.credits:
            return f"{job} is leased without a credit"
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
    token = {"complete": 2, "record": 2, "renew": 1, "checkpoint": 1, "yield": 1}.get(t.name)
    if token is None or not t.arguments[token]:
        return None
    if t.arguments[token] == log.newest(t.job) and not (t.was.result and t.name != "complete"):
        return None
    if t.was == t.became or t.job in t.admitted:  # whoever completes pumps
        return None
    return f"{t.name} under {t.arguments[token]} changed {t.job}"


def a_stale_delivery_changes_nothing(t: Transition, log: Log, _settings: Settings) -> str | None:
    """`late` and dead letters of what the job has left behind mean nothing."""
    if t.name not in ("late", "dead_letter", "published") or t.was.terminal:
        return None
    number = int(t.arguments[2 if t.name == "published" else 1])
    newest = log.since.get(t.job, 0) if t.name == "dead_letter" else t.was.delivery
    leased = t.was.token and (t.was.lease_until > t.now_us or t.name != "dead_letter")
    if number >= newest and not leased and not t.was.result and t.job in t.before.credits:
        return None
    place = (t.before.credits.get(t.job), t.was) == (t.after.credits.get(t.job), t.became)
    return None if place else f"{t.name} of {number} changed {t.job}, which is at {newest}"


def first_come_first_served(t: Transition, log: Log, _settings: Settings) -> str | None:
    """A job is admitted before those of its queue that came later."""
    for job in t.admitted:
        queue = t.after.records[job].queue
        for other in t.after.backlog.get(queue, ()):
            if log.jobs.index(other) < log.jobs.index(job):
                return f"{job} is admitted, and {other}, which came before it, still waits"
    return None


def no_queue_starves(t: Transition, log: Log, _settings: Settings) -> str | None:
    """While the head of a queue waits, few jobs of other queues start.

    A lease that was held for longer than usual has used the GPU too: its queue waits longer for it. A job
    that gave its credit back has not started: it is charged for what it used, which may be nothing.
    """
    for job in t.before.credits:
        if job not in t.after.credits and not t.after.records[job].terminal:
            for passed in log.passed.values():
                passed.discard(job)
    for job in t.admitted:
        log.passed.pop(job, None)
        for queue, waiting in t.after.backlog.items():
            if not waiting or queue == t.after.records[job].queue or waiting[0] in t.admitted:
                continue
            passed = log.passed[waiting[0]]
            passed.add(job)
            if len(passed) > _PASSED + log.excess[queue] / _SHORT_JOB:
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


def a_checkpoint_is_durable(t: Transition, log: Log, _settings: Settings) -> str | None:
    """A lease begins at the newest checkpoint that was accepted, and that is stored when it is pointed to."""
    if t.name == "claim" and t.tag == "lease" and t.became.checkpoint_step < log.kept.get(t.job, 0):
        return f"{t.job} starts at {t.became.checkpoint_step}, but {log.kept[t.job]} steps were kept"
    return None


def a_poison_job_ends(t: Transition, log: Log, _settings: Settings) -> str | None:
    """The third lease in a row without a new checkpoint is the last; so is the third refusal."""
    if log.fruitless[t.job] > _FRUITLESS:
        return f"{t.job} has its {log.fruitless[t.job]}th lease without a new checkpoint"
    if log.refusals[t.job] >= _REFUSALS and not t.became.terminal:
        return f"{t.job} was refused {log.refusals[t.job]} times"
    return None


def a_fruitless_lease_is_a_strike(t: Transition, log: Log, _settings: Settings) -> str | None:
    """No more and no fewer: lost events and outages are none."""
    if t.name != "claim" or t.tag != "lease" or t.was.token == t.arguments[1]:
        return None
    lost = log.fruitless[t.job] - 1  # without this one
    return None if t.became.strikes == lost else f"{t.job} has {t.became.strikes} strikes, and lost {lost}"


def a_pause_is_heeded(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """While the pool is paused, no job is admitted."""
    if t.admitted and t.after.paused_until > t.now_us:
        return f"{sorted(t.admitted)} for another {(t.after.paused_until - t.now_us) / 1e6:.3f} s"
    return None


def what_is_not_due_is_left_alone(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """The reaper mends what is overdue when it looks, whatever it read before."""
    due = t.before.credits.get(t.job)
    if t.name == "reap" and (due is None or due > t.now_us) and t.was != t.became:
        return f"{t.job} was not due, and is {t.became.status}"
    return None


def a_heartbeat_tells(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Who holds a lease hears of a cancellation and of the deadline with the next renewal."""
    if t.name != "renew" or t.tag == "lost":
        return None
    late = 0 < t.was.deadline <= t.now_us
    said = "cancel" if t.was.cancel else "deadline" if late else "ok"
    return None if t.tag == said else f"{t.job} is told {t.tag}, not {said}"


def a_credit_given_back_unworked_pauses_the_pool(t: Transition, _log: Log, _settings: Settings) -> str | None:
    """Otherwise the next job is admitted into the same hole."""
    for job in t.before.credits:
        was = t.before.records.get(job, Record())
        if was.token or was.result:
            continue
        if job in t.after.waiting and t.after.paused_until <= t.now_us:
            return f"{job} is requeued, and the pool goes on"
    return None


def a_restart_costs_no_lease(t: Transition, _log: Log, settings: Settings) -> str | None:
    """When another server answers, every lease is whole again."""
    if t.name != "boot" or t.tag != "new":
        return None
    for job, record in t.after.records.items():
        short = record.lease_until < t.now_us + settings.lease_seconds * _SECOND
        if record.token and not record.result and short:
            return f"the lease of {job} was not extended"
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
    first = log.keys.setdefault(t.arguments[6], t.job)
    return None if first == t.job else f"one key made {first} and {t.job}"


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


#: Checked around every transition.
ALWAYS: Sequence[Check] = (
    terminal_is_final,
    result_is_final,
    credits_within_limit,
    no_credit_is_lost,
    a_lease_has_a_credit,
    one_lease_at_a_time,
    a_stale_token_changes_nothing,
    a_stale_delivery_changes_nothing,
    first_come_first_served,
    no_queue_starves,
    no_credit_idles,
    the_agenda_is_kept,
    an_event_carries_its_time,
    a_checkpoint_is_durable,
    a_poison_job_ends,
    a_fruitless_lease_is_a_strike,
    a_pause_is_heeded,
    what_is_not_due_is_left_alone,
    a_heartbeat_tells,
    a_credit_given_back_unworked_pauses_the_pool,
    a_restart_costs_no_lease,
    a_backlog_has_a_limit,
    one_job_a_key,
    deadlines_end_what_waits,
)


class Invariants:
    """Takes note of what happens, and says what is violated."""

    def __init__(
        self, log: Log, settings: Settings, objects: Objects, fail: Callable[[Violation], None]
    ) -> None:
        """`fail`: ends the run; raising would not, for the code at work catches what it does not know."""
        self._log, self._settings, self._objects, self._fail = log, settings, objects, fail

    def hold(self, name: str, wrong: str | None) -> None:
        """One check: what is wrong, or None."""
        self._log.checked[name] += 1
        if wrong is not None:
            self._fail(Violation(name, wrong))

    def around(self, t: Transition) -> None:
        """Before and after a transition."""
        log = self._log
        granted = t.name == "claim" and t.tag == "lease" and t.arguments[1] != log.newest(t.job)
        log.jobs += [job for job in t.after.records if job not in log.jobs]
        log.fruitless[t.job] += granted
        if t.name == "dead_letter" and t.job in t.before.credits:
            log.refusals[t.job] += any(t.job in jobs for jobs in t.after.delayed.values())
        for check in ALWAYS:
            self.hold(check.__name__, check(t, log, self._settings))
        self._note(t)
        if granted:
            self._granted(t)
        if t.name == "checkpoint" and t.tag == "ok":
            self._checkpoint(t)
        for job, now in t.after.records.items():
            if now.status == "completed" and not t.before.records.get(job, Record()).terminal:
                self.hold("completed_has_its_video", self._video(now))

    def _note(self, t: Transition) -> None:
        """What later checks go by."""
        log = self._log
        for job, was in t.before.records.items():
            now = t.after.records.get(job, Record())
            if was.token and not was.result and (now.token != was.token or now.result):
                held = min(t.now_us, was.lease_until) - log.grants[job][-1].at_us
                log.excess[was.queue] += max(0, held - _USUAL)
        for job in t.admitted:
            log.since[job] = t.after.records[job].delivery
        if t.name == "yield" and t.became.delivery != t.was.delivery:
            log.since[t.job] = t.became.delivery

    def _granted(self, t: Transition) -> None:
        self._log.name(t.arguments[1])
        self._log.grants[t.job].append(Grant(t.process, t.arguments[1], t.now_us))

    def _checkpoint(self, t: Transition) -> None:
        key, step = t.arguments[2], int(t.arguments[3])
        stored = key in self._objects.bodies
        self.hold("a_checkpoint_is_durable", None if stored else f"{key} is not stored")
        if step > self._log.kept.get(t.job, 0):
            self._log.fruitless[t.job] = 0
        # It goes back where the one before could not be read for long, and the job was begun again.
        self._log.kept[t.job] = step

    def _video(self, record: Record) -> str | None:
        key = "/".join(record.s3_url.split("/")[3:])
        stored = self._objects.described(key)
        if stored is None:
            return f"{record.s3_url} is not stored"
        if (stored.etag, stored.bytes) != (record.etag, record.bytes):
            return f"{record.s3_url} has the ETag {stored.etag} and {stored.bytes} bytes"
        return None

    def work(self, step: Step, seen: Seen) -> None:
        """A piece of GPU work is begun."""
        self._log.steps.append(step)
        newest, record = self._log.newest(step.job), seen.records.get(step.job, Record())
        wrong = None
        if step.token != newest:
            wrong = f"{step.process} works on {step.job} under {step.token}, and {newest} was given out"
        elif record.terminal or record.result:
            wrong = f"{step.process} works on {step.job}, which is {record.status} {record.result}"
        self.hold("one_attempt_at_work", wrong)

    def event(self, event: Event) -> None:
        """An event is published or replied."""
        first = self._log.events.setdefault(event.id, event)
        same = (first.type, first.data, first.time) == (event.type, event.data, event.time)
        self.hold("one_meaning_an_id", None if same else f"{event.id} means {first.data} and {event.data}")
        if event.type.rsplit(".", 1)[-1] in ("completed", "failed", "cancelled"):
            told = self._log.ends.setdefault(event.subject, event)
            same = (told.id, told.data) == (event.id, event.data)
            what = f"{event.subject} ends with {told.id} {told.data} and with {event.id} {event.data}"
            self.hold("one_terminal_event", None if same else what)

    def ended(self, seen: Seen) -> None:
        """Everything is quiet: every job has ended, as it was told, with its video; no credit is held."""
        log = self._log
        for job in log.jobs:
            record = seen.records[job]
            self.hold("every_job_ends", None if record.terminal else f"{job} is {record.status}")
            told = log.ends.get(job)
            same = told is not None and told.type.endswith(record.status)
            self.hold("every_end_is_told", None if same else f"{job} is {record.status}, told was {told}")
            if record.status == "completed":
                self.hold("completed_has_its_video", self._video(record))
        left = (*seen.credits, *seen.waiting, *seen.outbox, *(j for d in seen.delayed.values() for j in d))
        self.hold("nothing_is_left_behind", f"{left}" if left else None)

    def gone(self, keys: Sequence[str]) -> None:
        """After the retention and the sweep: no key of a job, and no object."""
        left = [key for key in keys if key not in ("now", "seq") and not key.startswith("pool:")]
        left += [key for key in self._objects.bodies if key.startswith("videos/")]
        self.hold("nothing_is_left_behind", f"{left}" if left else None)


#: Every invariant's name, for the table of a run.
BY_NAME = (
    *(check.__name__ for check in ALWAYS),
    "completed_has_its_video",
    "one_attempt_at_work",
    "one_meaning_an_id",
    "one_terminal_event",
    "no_defect_is_met",
    "every_job_ends",
    "every_end_is_told",
    "nothing_is_left_behind",
)
