"""Every error that the system raises on purpose, in one tree.

MochiError
├── InvalidRequest          422  fields of a request are wrong (all of them at once)
├── IdempotencyConflict     422  the key was used before, for another request
├── JobNotFound             404  no job has this id, or it has expired
├── NotReady                409  the job has no video (yet)
├── BacklogFull             429  the queue holds as many jobs as it may
├── PoolBusy                503  no free credit for a call that cannot wait
├── StoreUnavailable        503  Redis is away, out of memory or read-only
├── StorageUnavailable      503  the object store is away or refuses
├── PublishFailed           503  the Broker did not take an event
└── ConfigurationError      500  a setting is missing or wrong (at start only)

An error knows its HTTP status and the `type` slug of its problem document; one mapper
(functions/problems.py) renders it. Its message is for users: no secret, no stack trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BacklogFull",
    "ConfigurationError",
    "FieldError",
    "IdempotencyConflict",
    "InvalidRequest",
    "JobNotFound",
    "MochiError",
    "NotReady",
    "PoolBusy",
    "PublishFailed",
    "StorageUnavailable",
    "StoreUnavailable",
]


@dataclass(frozen=True)
class FieldError:
    """One wrong field: its name (dotted path), what is wrong with it and what is allowed."""

    field: str
    problem: str
    allowed: str


class MochiError(Exception):
    """Base of the tree."""

    status: int = 500
    slug: str = "internal-error"
    title: str = "Internal error"
    #: Seconds after which a retry makes sense, sent as `Retry-After`; None: no such header.
    retry_after: int | None = None


class InvalidRequest(MochiError):
    """Fields of a request are wrong; `errors` lists each of them."""

    status = 422
    slug = "invalid-request"
    title = "The request is not valid"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{e.field}: {e.problem} (allowed: {e.allowed})" for e in errors))


class IdempotencyConflict(MochiError):
    """The idempotency key belongs to a job with another request."""

    status = 422
    slug = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"this Idempotency-Key belongs to job {job_id}, whose request differs: "
            "use a new key for a new request"
        )


class JobNotFound(MochiError):
    """No job has this id, or it has expired."""

    status = 404
    slug = "job-not-found"
    title = "There is no such job"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job has the id {job_id[:64]!r}: it never existed or has expired")


class NotReady(MochiError):
    """The job has no video: it has not ended, or it ended without one."""

    status = 409
    slug = "video-not-ready"
    title = "The job has no video"

    def __init__(self, job_id: str, job_status: str) -> None:
        self.job_id = job_id
        self.job_status = job_status
        super().__init__(f"job {job_id} is {job_status}: only a completed job has a video")


class BacklogFull(MochiError):
    """The queue's backlog is at its limit."""

    status = 429
    slug = "backlog-full"
    title = "The backlog is full"

    def __init__(self, queue: str, limit: int, retry_after: int) -> None:
        self.queue = queue
        self.retry_after = retry_after
        super().__init__(f"queue {queue} holds its limit of {limit} jobs; try again in {retry_after} s")


class PoolBusy(MochiError):
    """Every credit of the pool is taken, and this call cannot wait for one."""

    status = 503
    slug = "pool-busy"
    title = "Every GPU slot is busy"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"every GPU slot is busy; try again in {retry_after} s, or POST /jobs, which queues")


class StoreUnavailable(MochiError):
    """Redis is away, out of memory or read-only: nothing was recorded."""

    status = 503
    slug = "store-unavailable"
    title = "The job store is unavailable"
    retry_after = 5


class StorageUnavailable(MochiError):
    """The object store is away or refuses."""

    status = 503
    slug = "storage-unavailable"
    title = "The video storage is unavailable"
    retry_after = 5


class PublishFailed(MochiError):
    """The Broker did not take an event. Nothing is lost: Redis publishes it again."""

    status = 503
    slug = "broker-unavailable"
    title = "The Broker is unavailable"
    retry_after = 5


class ConfigurationError(MochiError):
    """A setting is missing or wrong; the message names it and what is allowed."""

    slug = "configuration-error"
    title = "The configuration is wrong"
