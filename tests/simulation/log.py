"""The independent log of a run: what was done on GPUs, granted, published and stored, and the trace.

It is written by the simulated world, not by the code under test, and the invariants are checked from it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eventing.events import Event
from tests.simulation.link import Record, Seen

__all__ = ["Books", "Grant", "Log", "Step", "Transition"]

_ID, _TOKEN = 32, 16  # characters


@dataclass(frozen=True)
class Transition:
    """A call that the store made, and what was seen around it."""

    process: str
    name: str
    arguments: tuple[str, ...]
    tag: str
    deliveries: tuple[Any, ...]  # as the script answers them: kind, job, queue, delivery, attempt, …
    before: Seen
    after: Seen
    now_us: int
    extra: tuple[Any, ...] = ()  # what else it answers

    @property
    def job(self) -> str:
        """The job that it is about; empty where it is about none."""
        return self.arguments[0] if self.arguments else ""

    @property
    def was(self) -> Record:
        """That job's record before."""
        return self.before.records.get(self.job, Record())

    @property
    def became(self) -> Record:
        """That job's record after."""
        return self.after.records.get(self.job, Record())

    @property
    def admitted(self) -> set[str]:
        """Jobs that were given a credit."""
        asked = {(job, delivery) for kind, job, _, delivery, *_ in self.deliveries if kind == "requested"}
        records = self.after.records
        now = {job for job, delivery in asked if job in records and records[job].since == delivery}
        known = {job for job in now if self.before.records.get(job, Record()).since == records[job].since}
        return now - known


@dataclass(frozen=True)
class Grant:
    """A lease that was given out."""

    process: str
    token: str
    at_us: int


@dataclass(frozen=True)
class Step:
    """A piece of GPU work that was begun."""

    process: str
    job: str
    token: str
    step: int
    at_us: int


@dataclass
class Books:
    """What Redis has decided, as it was seen. When Redis loses its last second, this goes back with it."""

    jobs: list[str] = field(default_factory=list)  # ids in the order of their first recording
    keys: dict[str, str] = field(default_factory=dict)  # idempotency key → job
    grants: dict[str, list[Grant]] = field(default_factory=lambda: defaultdict(list))
    fruitless: Counter[str] = field(default_factory=Counter)  # leases since the last new checkpoint, by job
    unkept: set[str] = field(default_factory=set)  # tokens of leases whose steps could not be kept
    excuses: Counter[str] = field(default_factory=Counter)  # fruitless leases that were excused, by job
    kept: dict[str, int] = field(default_factory=dict)  # the step of the newest checkpoint that was accepted
    since: dict[str, int] = field(default_factory=dict)  # the delivery of the last admission or yield
    excess: Counter[str] = field(default_factory=Counter)  # µs of leases beyond a job's usual, by queue
    refusals: Counter[str] = field(default_factory=Counter)
    #: By the head of a queue that waits: the jobs that were admitted before it, with their attempts so far.
    passed: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def copy(self) -> Books:
        """As it is now."""
        return Books(
            list(self.jobs),
            dict(self.keys),
            defaultdict(list, {job: list(grants) for job, grants in self.grants.items()}),
            Counter(self.fruitless),
            set(self.unkept),
            Counter(self.excuses),
            dict(self.kept),
            dict(self.since),
            Counter(self.excess),
            Counter(self.refusals),
            defaultdict(dict, {job: dict(before) for job, before in self.passed.items()}),
        )


@dataclass
class Log:
    """Facts in the order in which they happened."""

    now_us: Callable[[], int]
    books: Books = field(default_factory=Books)
    steps: list[Step] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)  # by id, as first published or replied
    ends: dict[str, Event] = field(default_factory=dict)  # the terminal event of a job
    handed_over: set[tuple[str, int]] = field(default_factory=set)  # job, delivery: published or replied
    forgotten: dict[str, int] = field(default_factory=dict)  # token that Redis lost → when (µs)
    shaken: set[str] = field(default_factory=set)  # jobs of which Redis lost something
    transitions: int = 0
    checked: Counter[str] = field(default_factory=Counter)  # by invariant
    trace: list[tuple[int, str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # what is random in a trace → its short name
    _count: Counter[str] = field(default_factory=Counter)  # of names, by kind

    def say(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append((self.now_us(), who, what))

    def name(self, text: str) -> None:
        """Give an id or a token a name that is the same whenever the seed is."""
        if text not in self.names and len(text) in (_ID, _TOKEN):
            kind = "job" if len(text) == _ID else "token"
            self._count[kind] += 1
            self.names[text] = f"{kind}-{self._count[kind]}"

    def newest(self, job: str) -> str:
        """The token of the newest lease of a job; empty where there was none."""
        grants = self.books.grants.get(job)
        return grants[-1].token if grants else ""

    def text(self, start_us: int) -> str:
        """The whole trace, one line an entry: seconds since the start, who, what."""
        lines = "\n".join(f"{(at - start_us) / 1e6:10.3f}  {who:<14} {what}" for at, who, what in self.trace)
        for long, short in self.names.items():
            lines = lines.replace(long, short)
        return lines
