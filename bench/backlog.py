"""A long backlog in one Redis: what a pending job takes up, and whether anything gets slower with it.

An own Valkey, configured as `mochi up` does it. The jobs come in through the real script, many in flight at a
time; then the store's own calls are timed, one after the other, over one connection.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from bench.table import Row, milliseconds
from jobs.connection import pool_text
from jobs.job import Artifact, Outcome, ResultKind
from jobs.records import spec_text
from jobs.request import VideoSpec
from jobs.scripts import transitions
from jobs.settings import Settings
from jobs.store import JobStore, Lease, NewJob
from tests.servers import redis_server

__all__ = ["SMALL", "measure"]

SMALL = 1_000
_CHUNK = 2_000  # submissions in flight
_PROMPT = "a red circle moving right over a dark background while a blue square rests in a corner of it, "
_ESTIMATE_SECONDS = 10.0
_PAGE = 50  # jobs
_AIM_BYTES, _AIM_RATIO = 1_200, 2.0


@dataclass(frozen=True)
class _Found:
    """What was measured beside so many pending jobs: bytes a job, and the medians in seconds."""

    jobs: int
    bytes: float
    medians: dict[str, float]


def measure(jobs: int, calls: int = 300) -> Iterator[Row]:
    """At SMALL and at `jobs` pending jobs, and how much slower the second is; medians of so many calls."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        backlog = _Backlog(Settings(redis_url=url, backlog_limit=jobs + SMALL + 4 * calls), calls)
        small = backlog.grown_to(min(SMALL, jobs))
        yield from _rows(small)
        if jobs <= SMALL:
            return
        large = backlog.grown_to(jobs)
        yield from _rows(large)
    for name, seconds in large.medians.items():
        ratio = seconds / small.medians[name]
        what = f"{name}, {jobs:,} to {SMALL:,} pending jobs"
        yield Row(what, "ratio", f"{ratio:.2f}", f"at most {_AIM_RATIO:g}")


def _rows(found: _Found) -> Iterator[Row]:
    beside = f"beside {found.jobs:,} pending jobs"
    yield Row(f"a pending job {beside}", "memory", f"{found.bytes:.0f} bytes", f"below {_AIM_BYTES}")
    for name, seconds in found.medians.items():
        yield Row(f"{name} {beside}", "p50", milliseconds(seconds))


class _Backlog:
    """A Redis with one credit, and jobs that wait for it."""

    def __init__(self, settings: Settings, calls: int) -> None:
        self._settings = settings
        self._calls = calls
        self._draw = random.Random(1)
        self._known: list[str] = []
        self._at_work = self._id()  # it takes the credit: all that follow wait

    def _id(self) -> str:
        return f"{self._draw.getrandbits(128):032x}"

    def grown_to(self, jobs: int) -> _Found:
        with Redis.from_url(self._settings.redis_url) as redis:
            if not self._known:
                self._submit(redis, [self._at_work])
            used, were = _used(redis), len(self._known)
            while (left := jobs - len(self._known)) > 0:
                ids = [self._id() for _ in range(min(_CHUNK, left))]
                self._submit(redis, ids)
                self._known += ids
                sys.stderr.write(f"\r{len(self._known):,} of {jobs:,} jobs")
            sys.stderr.write("\n")
            taken = (_used(redis) - used) / (jobs - were)
        return _Found(jobs, taken, asyncio.run(self._medians()))

    def _submit(self, redis: Redis, ids: list[str]) -> None:
        """As JobStore.submit, without waiting for each answer."""
        script, text = transitions(), pool_text(self._settings)
        redis.script_load(script.text)
        pipe = redis.pipeline(transaction=False)
        for new in map(_new, ids):
            estimate = round(new.estimate_seconds * 1e6)
            given = (new.id, new.spec.queue, spec_text(new.spec), estimate, "", "", "", "", 0)
            pipe.evalsha(script.sha, 0, "submit", text, *map(str, given))
        for answer in pipe.execute():
            if answer[0] != b"created":
                raise SystemExit(f"a submission was answered with {answer[0]!r}: nothing to measure")

    async def _medians(self) -> dict[str, float]:
        store = JobStore.connect(self._settings)
        cursors = [None, *await _cursors(store)]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "submit": lambda: store.submit(_new(self._id())),
            "queue position": lambda: store.get(self._draw.choice(self._known)),
            "list page": lambda: store.list_jobs(limit=_PAGE, cursor=self._draw.choice(cursors)),
            "a batch of the books": store.audit,
        }
        try:
            found = {name: await _median(self._calls, call) for name, call in calls.items()}
            return found | {"admit": await self._admit(store)}
        finally:
            await store.close()

    async def _admit(self, store: JobStore) -> float:
        """The end of a job, which admits the next: that call is timed, the work before it is not."""
        times = []
        for _ in range(self._calls):
            lease = await store.claim(self._at_work, "bench:0")
            if not isinstance(lease, Lease):
                raise SystemExit(f"a claim was answered with {lease}: nothing to measure")
            outcome = Outcome(ResultKind.COMPLETED, lease.token, _video(lease))
            await store.record(lease, outcome)
            since = time.perf_counter()
            admitted = await store.complete(self._at_work, outcome)
            times.append(time.perf_counter() - since)
            self._at_work = admitted[0].job_id
        return sorted(times)[len(times) // 2]


def _used(redis: Redis) -> int:
    return int(cast("dict[str, Any]", redis.info("memory"))["used_memory"])


def _new(job_id: str) -> NewJob:
    spec = VideoSpec(
        prompt=f"{_PROMPT}{job_id}"[:100],
        negative_prompt="",
        width=848,
        height=480,
        num_frames=163,
        fps=30,
        num_inference_steps=64,
        guidance_scale=4.5,
        seed=int(job_id[:8], 16),
        queue="short-low",
    )
    return NewJob(job_id, spec, _ESTIMATE_SECONDS)


def _video(lease: Lease) -> Artifact:
    key = f"videos/{lease.job.id}/{lease.attempt}-{lease.token}/video.mp4"
    return Artifact(key, f"s3://videos/{key}", "0" * 32, 1)


async def _cursors(store: JobStore) -> list[str]:
    """Those of some pages after the first."""
    found: list[str] = []
    while len(found) < 10:
        page = await store.list_jobs(limit=_PAGE, cursor=found[-1] if found else None)
        if page.next_cursor is None:
            break
        found.append(page.next_cursor)
    return found


async def _median(count: int, call: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(count):
        since = time.perf_counter()
        await call()
        times.append(time.perf_counter() - since)
    return sorted(times)[len(times) // 2]
