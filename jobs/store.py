"""The job store: every transition of a job's record, each one atomic script on Redis.

`jobs/transitions.lua` holds the transitions; this file calls them and turns their answers into values.
Publishing is not its business: a transition returns the deliveries that it caused, and whoever called
it publishes them and says so (`eventing/dispatch.py`). One that is never published comes back from
`reap` or `tick`, because the record says that it is due.

Every method raises StoreUnavailable when Redis is away, out of memory or read-only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from jobs.job import Change, Delivery, Job, Outcome, Page, Phase, Status
from jobs.profile import Profile
from jobs.request import VideoSpec
from jobs.settings import Settings


class Renewal(StrEnum):
    """What a heartbeat or a step's report is answered."""

    OK = "ok"
    CANCEL = "cancel"  # stop at the next step, and record the outcome cancelled
    DEADLINE = "deadline"  # stop at the next step, and record the outcome failed (deadline_exceeded)
    LOST = "lost"  # the lease is another's or the job has ended: stop, nothing to record


@dataclass(frozen=True)
class Idempotency:
    """A key that makes a submission idempotent for as long as its job is kept."""

    key: str  # "http:{Idempotency-Key}" or "event:{source} {id}"
    fingerprint: str | None  # of the request; None: the same key is the same job whatever was asked


@dataclass(frozen=True)
class NewJob:
    """A job to submit."""

    id: str
    spec: VideoSpec
    estimate_seconds: float  # GPU seconds, from the profile
    idempotency: Idempotency | None = None
    traceparent: str = ""


@dataclass(frozen=True)
class Submission:
    """A job that was submitted, now (`created`) or before under the same idempotency key."""

    job: Job
    created: bool
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class Lease:
    """The right to work on a job until `seconds` after the last renewal, by Redis' clock."""

    job: Job
    token: str
    attempt: int
    slot: str
    seconds: int
    checkpoint_key: str | None = None
    checkpoint_step: int = 0


@dataclass(frozen=True)
class Answered:
    """The claim of a job whose result is recorded: answer with this event, and do no work."""

    delivery: Delivery


@dataclass(frozen=True)
class Ignored:
    """A claim that means nothing any more: answer 204. The reason is for the log."""

    reason: str  # unknown | ended | leased | no_credit


@dataclass(frozen=True)
class Ended:
    """The answer to a cancellation: the job as it is now."""

    job: Job
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class PoolStats:
    """A pool as the metrics show it."""

    limit: int
    credits: int  # held
    paused_seconds: float
    backlog: dict[str, int]  # pending jobs in the backlog, by queue


@dataclass(frozen=True)
class Expired:
    """A job whose retention is over, marked as such: its objects are to go, then its record."""

    job_id: str


class JobStore:
    """All transitions and reads of jobs on one Redis."""

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Make a store; nothing is sent before the first call."""
        raise AssertionError

    async def close(self) -> None:
        """Close the connections."""

    async def ping(self) -> None:
        """Raise StoreUnavailable unless Redis answers and takes writes."""

    # Submitting

    async def submit(self, new: NewJob) -> Submission:
        """Row 1. Raises IdempotencyConflict, BacklogFull, InvalidRequest (deadline has passed)."""
        raise AssertionError

    async def submit_now(self, new: NewJob) -> Submission:
        """Record a job with a credit at once, for a caller that claims it itself (`:predict`).

        Raises PoolBusy when no credit is free; then nothing is recorded.
        """
        raise AssertionError

    # Publishing

    async def published(self, delivery: Delivery) -> None:
        """Row 3, or the removal of a terminal event from the outbox."""

    # Working (the predictor)

    async def claim(self, job_id: str, slot: str) -> Lease | Answered | Ignored:
        """Row 4."""
        raise AssertionError

    async def renew(self, lease: Lease, phase: Phase, step: int) -> Renewal:
        """Row 5, and the report of phase and step (denoising steps done)."""
        raise AssertionError

    async def checkpoint(self, lease: Lease, key: str, step: int) -> bool:
        """Row 6: point to a durable checkpoint. False: the lease is lost."""
        raise AssertionError

    async def yield_(self, lease: Lease) -> Delivery | None:
        """Row 7: the event to reply (`continued`, or a terminal one). None: the lease is lost."""
        raise AssertionError

    async def late(self, job_id: str, delivery: int) -> Delivery | None:
        """Row 8: the `continued` to reply, or None (answer 204)."""
        raise AssertionError

    async def record(self, lease: Lease, outcome: Outcome) -> Delivery | None:
        """Row 9: the terminal event to reply. None: the lease is lost."""
        raise AssertionError

    # Ending

    async def complete(self, job_id: str, outcome: Outcome) -> tuple[Delivery, ...]:
        """Row 10, from a terminal event: the jobs that the freed credit admits."""
        raise AssertionError

    async def cancel(self, job_id: str) -> Ended:
        """Row 11. Raises JobNotFound. A job that has ended stays as it is."""
        raise AssertionError

    # Mending (the reaper)

    async def due(self, limit: int = 100) -> Sequence[str]:
        """Jobs of the pool whose due time has passed, most overdue first."""
        raise AssertionError

    async def reap(self, job_id: str) -> tuple[Delivery, ...]:
        """Row 12."""
        raise AssertionError

    async def dead_letter(
        self, job_id: str, delivery: int, status_code: int, reason: str
    ) -> tuple[Delivery, ...]:
        """Row 14. `status_code`: of the last answer, 0 where there was none."""
        raise AssertionError

    async def tick(self) -> tuple[Delivery, ...]:
        """Row 15: wake delayed jobs, end waiting ones whose deadline passed, PUMP, outbox."""
        raise AssertionError

    async def expire(self, limit: int = 100) -> Sequence[Expired]:
        """Mark ended jobs older than the retention as expired (they are not found any more)."""
        raise AssertionError

    async def forget(self, job_id: str) -> None:
        """Remove an expired job's record and its idempotency key, once its objects are gone."""

    # Reading

    async def get(self, job_id: str) -> Job:
        """The job. Raises JobNotFound."""
        raise AssertionError

    async def list_jobs(
        self,
        status: Status | None = None,
        queue: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Newest first, in a stable order while new jobs come in.

        Raises InvalidRequest for a cursor that this method did not give out.
        """
        raise AssertionError

    def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Change]:
        """Every change of status or phase with a version above `after`, and progress, as it happens.

        Ends after the change to a terminal status. Raises JobNotFound.
        """
        raise AssertionError

    async def stats(self) -> PoolStats:
        """The pool's credits and backlogs."""
        raise AssertionError

    # The profile of the deployed model

    async def save_profile(self, profile: Profile) -> None:
        """Store the profile of the model that the predictor loaded."""

    async def load_profile(self) -> Profile | None:
        """The stored profile, or None before the first predictor was up."""
        raise AssertionError
