"""What goes into the job store and what comes out, beside the job itself: frozen values, and no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobs.job import Delivery, Job
from jobs.request import VideoSpec

__all__ = [
    "Answered",
    "Audit",
    "Ended",
    "Expired",
    "Idempotency",
    "Ignored",
    "Lease",
    "Mended",
    "NewJob",
    "PoolStats",
    "Renewal",
    "Submission",
]


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
    claimed_us: int = 0  # Redis' clock at the claim; what a slice has spent before is the event's age then


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


@dataclass(frozen=True)
class Mended:
    """A job that was not where the books must have it, and is now."""

    job_id: str
    what: str  # what was wrong, and what was done about it


@dataclass(frozen=True)
class Audit:
    """What one batch of the check of the books came to."""

    checked: int  # entries, each found in one of the sets that a job can be in
    mended: tuple[Mended, ...]
    whole: bool  # the round is over: every set has been walked through
    deliveries: tuple[Delivery, ...]
