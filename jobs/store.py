"""The job store: every transition of a job's record, each one atomic script on Redis.

`jobs/transitions.lua` holds the transitions; this file calls them and turns their answers into values.
Publishing is not its business: a transition returns the deliveries that it caused, and whoever called
it publishes them and says so (`eventing/dispatch.py`). One that is never published comes back from
`reap` or `tick`, because the record says that it is due.

Every method raises StoreUnavailable when Redis is away, out of memory or read-only. A store belongs to
one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from math import ceil
from secrets import token_hex
from typing import Self

import structlog
from pydantic import ValidationError

from jobs.connection import CredentialsRefused, Server
from jobs.dangers import dangers_of
from jobs.errors import (
    BacklogFull,
    ConfigurationError,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    PoolBusy,
)
from jobs.follow import Watch, follow_job
from jobs.job import Change, Delivery, Job, Outcome, Page, Phase, Status
from jobs.leases import (
    Answered,
    Audit,
    Ended,
    Expired,
    Idempotency,
    Ignored,
    Lease,
    Mended,
    NewJob,
    PoolStats,
    Renewal,
    Submission,
)
from jobs.listing import read_cursor, write_cursor
from jobs.profile import Profile
from jobs.records import DamagedRecord, Reply, outcome_arguments
from jobs.scripts import transitions
from jobs.settings import Settings

__all__ = [
    "Answered",
    "Audit",
    "Ended",
    "Expired",
    "Idempotency",
    "Ignored",
    "JobStore",
    "Lease",
    "Mended",
    "NewJob",
    "PoolStats",
    "Renewal",
    "Submission",
]

_LONGEST_RETRY = 3600  # seconds; no `Retry-After` is longer
#: Answers of the broker's last try that say "not now" of the pool, not "never" of the job.
_NOT_NOW = frozenset({404, 408, 409, 425, 429})

log = structlog.get_logger(__name__)


class JobStore:
    """All transitions and reads of jobs on one Redis."""

    def __init__(self, settings: Settings, clock: str | None = None) -> None:
        """`clock`: the body of a Lua function that stands for Redis' clock (jobs/scripts.py)."""
        self._settings = settings
        self._server = Server(settings, transitions(clock))
        self._watch = Watch(self._server.subscriber)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Make a store; nothing is sent before the first call. Raises ConfigurationError."""
        return cls(settings)

    async def close(self) -> None:
        """Close the connections."""
        await self._watch.close()
        await self._server.close()

    async def ping(self) -> None:
        """Raise StoreUnavailable unless Redis answers and takes writes.

        Raises ConfigurationError where it refuses the credentials.
        """
        try:
            await self._server.call("ping")
        except CredentialsRefused as error:
            raise ConfigurationError(str(error)) from None

    async def dangers(self) -> tuple[str, ...]:
        """In what way this Redis may lose jobs, for people; empty where it should not."""
        return dangers_of(await self._server.info())

    # Submitting

    async def submit(self, new: NewJob) -> Submission:
        """Row 1. Raises IdempotencyConflict, BacklogFull, InvalidRequest (deadline has passed)."""
        return await self._submit(new, at_once=False)

    async def submit_now(self, new: NewJob) -> Submission:
        """Record a job with a credit at once, for a caller that claims it itself (`:predict`).

        Raises PoolBusy when no credit is free; then nothing is recorded.
        """
        return await self._submit(new, at_once=True)

    async def _submit(self, new: NewJob, *, at_once: bool) -> Submission:
        key, fingerprint = _hashed(new.idempotency)
        reply = await self._call(
            "submit",
            new.id,
            new.spec.queue,
            new.spec.to_json(),
            round(new.estimate_seconds * 1e6),
            new.spec.deadline_us or "",
            new.traceparent,
            key,
            fingerprint,
            int(at_once),
        )
        match reply.tag:
            case "conflict":
                raise IdempotencyConflict(reply.views[0][0])
            case "deadline":
                raise InvalidRequest([FieldError("deadline", "has passed", "a time in the future")])
            case "full":
                raise BacklogFull(new.spec.queue, self._settings.backlog_limit, self._retry_after(reply, new))
            case "busy":
                raise PoolBusy(self._retry_after(reply, new))
        return Submission(reply.job(), reply.tag == "created", reply.deliveries)

    def _retry_after(self, reply: Reply, new: NewJob) -> int:
        if reply.pool is None:
            return 1
        # A backlog that is full has room again once one job of it starts; a call that cannot wait has to
        # wait for all that do.
        queue = reply.pool.queues.get(new.spec.queue)
        position = queue.waiting if queue and reply.tag == "busy" else 0
        estimate_us = new.estimate_seconds * 1e6
        wait = reply.pool.wait_seconds(new.spec.queue, position, estimate_us, self._settings.pool_limit)
        return min(max(1, ceil(wait)), _LONGEST_RETRY)

    # Publishing

    async def published(self, delivery: Delivery) -> None:
        """Row 3, or the removal of a terminal event from the outbox."""
        await self._call("published", delivery.job_id, delivery.kind, delivery.delivery)

    # Working (the predictor)

    async def claim(self, job_id: str, slot: str) -> Lease | Answered | Ignored:
        """Row 4."""
        token = token_hex(8)
        reply = await self._call("claim", job_id, token, slot)
        if reply.tag == "answered":
            return Answered(reply.deliveries[0])
        if reply.tag != "lease":
            return Ignored(reply.tag)
        job, (_, record, _) = reply.job(), reply.views[0]
        return Lease(
            job=job,
            token=token,
            attempt=job.attempt,
            slot=slot,
            seconds=self._settings.lease_seconds,
            checkpoint_key=record.get("checkpoint"),
            checkpoint_step=int(record.get("checkpoint_step", 0)),
            claimed_us=int(record["claimed"]),
        )

    async def renew(self, lease: Lease, phase: Phase, step: int) -> Renewal:
        """Row 5, and the report of phase and step (denoising steps done)."""
        reply = await self._call("renew", lease.job.id, lease.token, phase, step)
        return Renewal(reply.tag)

    async def checkpoint(self, lease: Lease, key: str, step: int, unusable: str = "") -> bool:
        """Row 6: point to a durable checkpoint. False: the lease is lost.

        One of more steps is not pointed away from, unless the lease's holder found it `unusable` (its key).
        """
        reply = await self._call("checkpoint", lease.job.id, lease.token, key, step, unusable)
        return reply.tag == "ok"

    async def unkept(self, lease: Lease, step: int) -> bool:
        """Row 6 while the object store is away: this attempt may end without a strike. False: it is lost.

        For six attempts in a row at most: a job that ends its workers must not circle for ever.
        """
        return (await self._call("unkept", lease.job.id, lease.token, step)).tag == "ok"

    async def yield_(self, lease: Lease, reason: str = "") -> Delivery | None:
        """Row 7: the event to reply (`continued`, or a terminal one). None: the lease is lost.

        `reason`: what a strike for it says; "" where it is the end of a slice.
        """
        return _only(await self._call("yield", lease.job.id, lease.token, reason))

    async def late(self, job_id: str, delivery: int) -> Delivery | None:
        """Row 8: the `continued` to reply, or the terminal event that is recorded, or None (answer 204)."""
        return _only(await self._call("late", job_id, delivery))

    async def record(self, lease: Lease, outcome: Outcome) -> Delivery | None:
        """Row 9: the terminal event to reply. None: the lease is lost."""
        kind, _, *rest = outcome_arguments(outcome)
        return _only(await self._call("record", lease.job.id, kind, lease.token, *rest))

    # Ending

    async def complete(self, job_id: str, outcome: Outcome) -> tuple[Delivery, ...]:
        """Row 10, from a terminal event: the jobs that the freed credit admits. Raises JobNotFound."""
        reply = await self._call("complete", job_id, *outcome_arguments(outcome))
        return _known(reply, job_id).deliveries

    async def cancel(self, job_id: str) -> Ended:
        """Row 11. Raises JobNotFound. A job that has ended stays as it is."""
        reply = _known(await self._call("cancel", job_id), job_id)
        return Ended(reply.job(), reply.deliveries)

    # Mending (the reaper)

    async def due(self, limit: int = 100) -> Sequence[str]:
        """Jobs of the pool whose due time has passed, most overdue first."""
        return (await self._call("due", limit)).extra

    async def reap(self, job_id: str) -> tuple[Delivery, ...]:
        """Row 12. What it did is logged: not all of it causes an event."""
        reply = await self._call("reap", job_id)
        if reply.tag not in ("nothing", "leased"):
            log.info("reap", job=job_id, did=reply.tag, events=[d.event_id for d in reply.deliveries])
        return reply.deliveries

    async def dead_letter(
        self, job_id: str, delivery: int, status_code: int, reason: str
    ) -> tuple[Delivery, ...]:
        """Row 14. `status_code`: of the last answer, 0 where there was none. Raises JobNotFound."""
        refused = 400 <= status_code < 500 and status_code not in _NOT_NOW
        text = f"{status_code}: {reason}"
        reply = _known(await self._call("dead_letter", job_id, delivery, int(refused), text), job_id)
        if reply.tag != "nothing":
            log.info("dead_letter_taken", job=job_id, did=reply.tag, reason=text)
        return reply.deliveries

    async def tick(self) -> tuple[Delivery, ...]:
        """Row 15: wake delayed jobs, end waiting ones whose deadline passed, PUMP, outbox."""
        return (await self._call("tick")).deliveries

    async def expire(self, limit: int = 100) -> Sequence[Expired]:
        """Mark ended jobs older than the retention as expired (they are not found any more).

        Those that were marked before and not forgotten come first, again.
        """
        reply = await self._call("expire", limit, self._settings.retention_seconds * 1_000_000)
        return [Expired(job_id) for job_id in reply.extra]

    async def forget(self, job_id: str) -> None:
        """Remove an expired job's record, once its objects are gone."""
        await self._call("forget", job_id)

    async def audit(self, limit: int = 200) -> Audit:
        """Check the books, from where the last call (of anybody) stopped, about `limit` entries of them.

        Each job that has not ended is in exactly one of credits, backlog and delayed, and in the one that its
        record speaks of; one that has ended is in none, and will expire. What is not so is mended. In a
        system at work nothing ever is.
        """
        reply = await self._call("audit", limit)
        checked, *mended = reply.extra
        pairs = zip(mended[::2], mended[1::2], strict=True)
        whole = reply.tag == "end"
        return Audit(int(checked), tuple(Mended(*pair) for pair in pairs), whole, reply.deliveries)

    async def sweep_place(self, every_seconds: float) -> str | None:
        """Where the caller is to go on with the sweep of the object store; None: it is not its turn.

        One of all who ask at a time. A round begins so often at most, with an empty place; the first one
        comes this long after the first question.
        """
        reply = await self._call("sweep", round(every_seconds * 1e6))
        return reply.extra[0] if reply.tag == "yes" else None

    async def swept(self, place: str, to: str | None) -> None:
        """The sweep came from `place` to another one; None: the round is over."""
        await self._call("swept", place, to or "", int(to is None))

    # Reading

    async def find(self, key: str) -> Job | None:
        """The job that was submitted under this idempotency key, if it is kept."""
        reply = await self._call("find", _digest(key))
        return reply.job() if reply.views else None

    async def get(self, job_id: str) -> Job:
        """The job. Raises JobNotFound, also where its record is damaged beyond reading."""
        reply = _known(await self._call("get", job_id), job_id)
        try:
            return reply.job()
        except DamagedRecord as error:
            log.error("damaged_record", job=job_id, reason=str(error))
            raise JobNotFound(job_id) from None

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
        below = "+inf" if cursor is None else f"({read_cursor(cursor)}"
        statuses = status or " ".join(Status)
        reply = await self._call("list", below, limit, queue or "", statuses)
        jobs = []
        for index in range(len(reply.views)):
            try:
                jobs.append(reply.job(index))
            except DamagedRecord as error:
                log.warning("damaged_record", job=reply.views[index][0], reason=str(error))
        return Page(tuple(jobs), write_cursor(reply.extra[0]) if reply.tag == "more" else None)

    def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Change]:
        """Every change of status or phase with a version above `after`, and progress, as it happens.

        Ends after the change to a terminal status. Raises JobNotFound. A watcher that is slow sees the
        newest progress and all milestones that the record still holds.
        """
        return follow_job(self._watch, self.get, job_id, after)

    async def stats(self) -> PoolStats:
        """The pool's credits and backlogs."""
        pool = (await self._call("stats")).pool
        if pool is None:
            raise AssertionError("the script shows the pool")
        backlog = {name: view.waiting for name, view in pool.queues.items()}
        return PoolStats(self._settings.pool_limit, pool.credits, pool.paused_seconds, backlog)

    async def now_us(self) -> int:
        """Redis' clock, in microseconds since the epoch: the one that an event's age is measured by."""
        pool = (await self._call("stats")).pool
        if pool is None:
            raise AssertionError("the script shows the pool")
        return pool.now_us

    # The profile of the deployed model

    async def save_profile(self, profile: Profile) -> None:
        """Store the profile of the model that the predictor loaded."""
        await self._server.write(self._profile_key, profile.model_dump_json())

    async def load_profile(self) -> Profile | None:
        """The stored profile, or None before the first predictor was up."""
        text = await self._server.read(self._profile_key)
        try:
            return Profile.model_validate_json(text) if text else None
        except ValidationError as error:
            log.warning("damaged_profile", reason=str(error))
            return None

    @property
    def _profile_key(self) -> str:
        return f"profile:{self._settings.pool}"

    async def _call(self, transition: str, *arguments: str | int) -> Reply:
        answer = await self._server.call(transition, *arguments)
        return Reply.read(answer, self._settings.pool_limit)


def _hashed(idempotency: Idempotency | None) -> tuple[str, str]:
    """Key and fingerprint in the bounded form that Redis keeps; empty where there is none."""
    if idempotency is None:
        return "", ""
    fingerprint = idempotency.fingerprint
    return _digest(idempotency.key), "" if fingerprint is None else _digest(fingerprint)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _known(reply: Reply, job_id: str) -> Reply:
    if reply.tag == "unknown":
        raise JobNotFound(job_id)
    return reply


def _only(reply: Reply) -> Delivery | None:
    return reply.deliveries[0] if reply.deliveries else None
