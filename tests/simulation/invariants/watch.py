"""Takes note of what happens, checks each invariant where it belongs, and ends the run that violates one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventing.events import Event
from jobs.settings import Settings
from tests.simulation.invariants import calls, ends, events, leases, places
from tests.simulation.invariants.check import Check, Violation
from tests.simulation.link import Record, Seen
from tests.simulation.log import Grant, Log, Step, Transition
from tests.simulation.storage import Objects

__all__ = ["ALWAYS", "BY_NAME", "Invariants"]

_USUAL = 20_000_000  # µs of GPU time of a lease that meets no fault
_EXCUSES = 6  # leases in a row that an outage of the object store may cost
_TERMINAL = ("completed", "failed", "cancelled")

#: Checked around every transition.
ALWAYS: Sequence[Check] = (*ends.CHECKS, *places.CHECKS, *leases.CHECKS, *events.CHECKS, *calls.CHECKS)

#: Every invariant's name, for the table of a run.
BY_NAME = (
    *(check.__name__ for check in ALWAYS),
    "a_refused_call_changes_nothing",
    "a_checkpoint_never_goes_back",
    "completed_has_its_video",
    "one_attempt_at_work",
    "one_meaning_an_id",
    "one_terminal_event",
    "a_call_is_answered_at_once_or_truly",
    "no_defect_is_met",
    "every_job_ends",
    "every_end_is_told",
    "nothing_is_left_behind",
)


class Invariants:
    """Of one run."""

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

    # Around a transition

    def around(self, t: Transition) -> None:
        """Before and after a transition."""
        log, books = self._log, self._log.books
        granted = t.name == "claim" and t.tag == "lease" and t.arguments[1] != log.newest(t.job)
        books.jobs += [job for job in t.after.records if job not in books.jobs]
        if granted:
            self._excuse(t.job)
            books.fruitless[t.job] += 1
        if t.name == "dead_letter" and t.job in t.before.credits:
            books.refusals[t.job] += any(t.job in jobs for jobs in t.after.delayed.values())
        for check in ALWAYS:
            self.hold(check.__name__, check(t, log, self._settings))
        self._note(t)
        if t.name == "claim":  # refused ones are in the trace too
            log.name(t.arguments[1])
        if granted:
            books.grants[t.job].append(Grant(t.process, t.arguments[1], t.now_us))
        if t.name == "checkpoint" and t.tag == "ok":
            self._checkpoint(t)
        if t.name == "unkept" and t.tag == "ok":
            books.unkept.add(t.arguments[1])
        for job, now in t.after.records.items():
            if now.status == "completed" and not t.before.records.get(job, Record()).terminal:
                self.hold("completed_has_its_video", self._video(now))

    def _excuse(self, job: str) -> None:
        """The lease before this one had nowhere to keep its steps: it does not count."""
        books = self._log.books
        fruitless = books.fruitless[job] and self._log.newest(job) in books.unkept
        if fruitless and books.excuses[job] < _EXCUSES:
            books.fruitless[job] -= 1
            books.excuses[job] += 1

    def _note(self, t: Transition) -> None:
        """What later checks go by."""
        books = self._log.books
        for job, was in t.before.records.items():
            now = t.after.records.get(job, Record())
            if was is not now and was.token and not was.result and (now.token != was.token or now.result):
                held = min(t.now_us, was.lease_until) - books.grants[job][-1].at_us
                books.excess[was.queue] += max(0, held - _USUAL)
        for job in t.admitted:
            books.since[job] = t.after.records[job].delivery
        if t.became.delivery != t.was.delivery and (
            t.name == "yield" or (t.name == "submit" and t.became.since)
        ):
            books.since[t.job] = t.became.delivery

    def _checkpoint(self, t: Transition) -> None:
        key, step = t.arguments[2], int(t.arguments[3])
        stored = key in self._objects.bodies
        self.hold("a_checkpoint_is_durable", None if stored else f"{key} is not stored")
        books, was, now = self._log.books, t.was, t.became
        back = now.checkpoint_step < was.checkpoint_step and was.checkpoint in self._objects.bodies
        what = f"{t.job} is at {now.checkpoint_step}, and has {was.checkpoint} of {was.checkpoint_step}"
        self.hold("a_checkpoint_never_goes_back", what if back else None)
        if step > books.kept.get(t.job, 0):
            books.fruitless[t.job] = books.excuses[t.job] = 0
        books.kept[t.job] = now.checkpoint_step

    def refused(self, name: str, answer: str, before: Seen, after: Seen) -> None:
        """Redis answers a transition with an error."""
        expected = answer.startswith("OOM ")
        self.hold("no_defect_is_met", None if expected else f"{name}: {answer}")
        wrong = None if before == after else f"{name} was refused, and is half done"
        self.hold("a_refused_call_changes_nothing", wrong)

    def _video(self, record: Record) -> str | None:
        key = "/".join(record.s3_url.split("/")[3:])
        stored = self._objects.described(key)
        if stored is None:
            return f"{record.s3_url} is not stored"
        if (stored.etag, stored.bytes) != (record.etag, record.bytes):
            return f"{record.s3_url} has the ETag {stored.etag} and {stored.bytes} bytes"
        return None

    # When work is begun, an event handed over, a call answered

    def work(self, step: Step, seen: Seen) -> None:
        """A piece of GPU work is begun."""
        log = self._log
        log.steps.append(step)
        newest, record = log.newest(step.job), seen.records.get(step.job, Record())
        wrong = None
        if step.token in log.forgotten:
            # Redis has lost it with its last second: its holder hears of that at its next renewal.
            over = log.forgotten[step.token] + self._settings.lease_seconds * 1_000_000
            if step.at_us > over:
                wrong = f"{step.process} works on {step.job} under {step.token}, which Redis has forgotten"
        elif step.token != newest:
            wrong = f"{step.process} works on {step.job} under {step.token}, and {newest} was given out"
        elif record.terminal or record.result:
            wrong = f"{step.process} works on {step.job}, which is {record.status} {record.result}"
        self.hold("one_attempt_at_work", wrong)

    def event(self, event: Event) -> None:
        """An event is published or replied."""
        log = self._log
        first = log.events.setdefault(event.id, event)
        same = (first.type, first.data, first.time) == (event.type, event.data, event.time)
        self.hold("one_meaning_an_id", None if same else f"{event.id} means {first.data} and {event.data}")
        if event.type.rsplit(".", 1)[-1] in _TERMINAL:
            told = log.ends.setdefault(event.subject, event)
            # The end of a job that was decided in the second that Redis lost may be decided anew.
            same = (told.id, told.data) == (event.id, event.data) or event.subject in log.shaken
            what = f"{event.subject} ends with {told.id} {told.data} and with {event.id} {event.data}"
            self.hold("one_terminal_event", None if same else what)

    def answered(self, job: str, seen: Seen) -> None:
        """A call of `:predict` was answered with a video."""
        record = seen.records.get(job, Record())
        ended = "completed" in (record.status, record.result)
        wrong = self._video(record) if ended else f"{job} is answered, and is {record.status} {record.result}"
        self.hold("a_call_is_answered_at_once_or_truly", None if job in self._log.shaken else wrong)

    # At the end

    def ended(self, seen: Seen) -> None:
        """Everything is quiet: every job has ended, as it was told, with its video; no credit is held."""
        log = self._log
        for job in log.books.jobs:
            record = seen.records[job]
            self.hold("every_job_ends", None if record.terminal else f"{job} is {record.status}")
            told = [e for e in log.events.values() if e.subject == job and e.type.endswith(record.status)]
            known = log.ends.get(job)
            same = bool(told) and (job in log.shaken or (known is not None and known in told))
            self.hold("every_end_is_told", None if same else f"{job} is {record.status}, told was {known}")
            if record.status == "completed":
                self.hold("completed_has_its_video", self._video(record))
        left = (*seen.credits, *seen.waiting, *seen.outbox, *(j for d in seen.delayed.values() for j in d))
        self.hold("nothing_is_left_behind", f"{left}" if left else None)

    def gone(self, keys: Sequence[str]) -> None:
        """After the retention and the sweep: no key of a job, and no object."""
        left = [key for key in keys if key not in ("now", "seq") and not key.startswith("pool:")]
        left += self._objects.bodies
        self.hold("nothing_is_left_behind", f"{left}" if left else None)
