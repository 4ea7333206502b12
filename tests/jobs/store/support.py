"""A store on a clock that the test sets, and jobs made up for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from jobs.job import Artifact, Delivery, EventKind, Job, JobError, Outcome, ResultKind
from jobs.settings import Settings
from jobs.store import Idempotency, JobStore, Lease, NewJob, Submission
from tests.specs import spec

__all__ = ["CLOCK", "SPEC", "T0", "Rig", "done", "failed", "new_job", "until", "video"]

CLOCK = "return tonumber(redis.call('GET', 'now') or 0)"
T0 = 1_767_323_045_000_006  # 2026-01-02T03:04:05.000006Z
SPEC = spec(seed=2**53 - 1)


def new_job(
    queue: str = "short-low",
    estimate: float = 10.0,
    *,
    key: str | None = None,
    fingerprint: str | None = None,
    deadline: str | None = None,
    job_id: str | None = None,
) -> NewJob:
    spec = replace(SPEC, queue=queue, deadline=deadline)
    idempotency = Idempotency(key, fingerprint) if key is not None else None
    return NewJob(job_id or uuid.uuid4().hex, spec, estimate, idempotency)


def video(lease: Lease) -> Artifact:
    folder = f"videos/{lease.job.id}/{lease.attempt}-{lease.token}"
    key = f"{folder}/video.mp4"
    return Artifact(key, f"s3://videos/{key}", "d41d8cd98f00b204", 12345, f"{folder}/poster.jpg")


def done(lease: Lease) -> Outcome:
    return Outcome(ResultKind.COMPLETED, lease.token, artifact=video(lease))


def failed(lease: Lease) -> Outcome:
    return Outcome(ResultKind.FAILED, lease.token, error=JobError("out_of_memory", "the GPU is full"))


class Rig:
    """A store of one pool, a plain client beside it, and the time."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.settings = settings
        self.redis: Any = redis  # its types say that each answer may come without being awaited
        self.now = T0
        self.stores: list[JobStore] = []
        self.store = self.another()

    def another(self, settings: Settings | None = None) -> JobStore:
        """Another store, as another process has; of other settings where they are given."""
        store = JobStore(settings or self.settings, clock=CLOCK)
        self.stores.append(store)
        return store

    def with_limit(self, limit: int) -> JobStore:
        """From here on the pool has this limit."""
        self.settings = replace(self.settings, pool_limit=limit)
        self.store = self.another()
        return self.store

    async def start(self) -> None:
        await self.redis.flushall()
        await self.set_time(T0)

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
        await self.redis.aclose()

    async def set_time(self, now_us: int) -> None:
        self.now = now_us
        await self.redis.set("now", now_us)

    async def advance(self, seconds: float) -> None:
        await self.set_time(self.now + round(seconds * 1_000_000))

    async def submit(self, queue: str = "short-low", estimate: float = 10.0) -> Submission:
        return await self.store.submit(new_job(queue, estimate))

    async def claim(self, job_id: str, slot: str = "gpu-0") -> Lease:
        lease = await self.store.claim(job_id, slot)
        assert isinstance(lease, Lease), lease
        return lease

    async def claimed(self) -> Lease:
        """A new job that is being worked on."""
        return await self.claim((await self.submit()).job.id)

    async def run(self, job_id: str, seconds: float = 1.0) -> list[str]:
        """Work on a job for some seconds, to its end; the jobs that are admitted for it."""
        lease = await self.claim(job_id)
        await self.advance(seconds)
        assert await self.store.record(lease, done(lease)) is not None
        return asked(await self.store.complete(job_id, done(lease)))

    async def record_of(self, job: Job | str) -> dict[str, str]:
        fields: dict[str, str] = await self.redis.hgetall(f"job:{job if isinstance(job, str) else job.id}")
        return fields

    async def due(self, job_id: str) -> float | None:
        """Seconds until the reaper looks at the job; None where it holds no credit."""
        score: float | None = await self.redis.zscore(f"credits:{self.settings.pool}", job_id)
        return None if score is None else (int(score) - self.now) / 1e6

    async def places(self, job_id: str) -> list[str]:
        """Where a job that has not ended is kept."""
        keys = [f"credits:{self.settings.pool}"]
        keys += [f"{kind}:{queue}" for kind in ("backlog", "delayed") for queue in self.settings.queues]
        return [key for key in keys if await self.redis.zscore(key, job_id) is not None]


def asked(deliveries: Sequence[Delivery]) -> list[str]:
    """The jobs of the events that ask for a GPU."""
    return [d.job_id for d in deliveries if d.kind is EventKind.REQUESTED]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what nothing else tells of: the subscriptions of a server, say."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  # the condition is another process's
            await asyncio.sleep(0.01)
