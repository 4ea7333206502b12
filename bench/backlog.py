"""A long backlog in one Redis: what a pending job takes up, and whether anything gets slower with it.

A Valkey for each size, configured as `mochi up` does it. The jobs come in through the real script, many in
flight at a time; then the store's own calls are timed, one after the other, in turn at each size.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, cast

from redis import Redis

from bench.table import Row, milliseconds
from jobs.connection import pool_text
from jobs.job import Artifact, Outcome, ResultKind
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


def measure(jobs: int, calls: int = 300) -> Iterator[Row]:
    """At SMALL and at `jobs` pending jobs, and how much slower the second is; medians of so many calls."""
    with ExitStack() as stack:
        backlogs = []
        for size in sorted({min(SMALL, jobs), jobs}):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = stack.enter_context(redis_server(Path(folder)))
            backlog = _Backlog(Settings(redis_url=url, backlog_limit=size + 2 * calls), size)
            backlogs.append(backlog)
            taken = f"{backlog.load():.0f} bytes"
            yield Row(f"a pending job beside {size:,}", "memory", taken, f"below {_AIM_BYTES} bytes")
        medians = asyncio.run(_medians(backlogs, calls))
    for name, times in medians.items():
        for backlog, seconds in zip(backlogs, times, strict=True):
            yield Row(f"{name} beside {backlog.size:,} pending jobs", "p50", milliseconds(seconds))
        if len(times) > 1:
            ratio = f"{times[1] / times[0]:.2f}"
            yield Row(f"{name}, {jobs:,} to {SMALL:,}", "ratio", ratio, f"at most {_AIM_RATIO:g}")


class _Backlog:
    """A Redis with one credit, and jobs that wait for it."""

    def __init__(self, settings: Settings, size: int) -> None:
        self.size = size
        self._settings = settings
        self._draw = random.Random(1)
        self._known: list[str] = []
        self._at_work = self._id()  # it takes the credit: all that follow wait
        self._cursors: list[str | None] = [None]

    def _id(self) -> str:
        return f"{self._draw.getrandbits(128):032x}"

    def load(self) -> float:
        """Submit all jobs; the bytes that one takes up."""
        with Redis.from_url(self._settings.redis_url) as redis:
            self._submit(redis, [self._at_work])
            used = _used(redis)
            while (left := self.size - len(self._known)) > 0:
                ids = [self._id() for _ in range(min(_CHUNK, left))]
                self._submit(redis, ids)
                self._known += ids
                sys.stderr.write(f"\r{len(self._known):,} of {self.size:,} jobs")
            sys.stderr.write("\n")
            return (_used(redis) - used) / self.size

    def _submit(self, redis: Redis, ids: list[str]) -> None:
        """As JobStore.submit, without waiting for each answer."""
        script, text = transitions(), pool_text(self._settings)
        redis.script_load(script.text)
        pipe = redis.pipeline(transaction=False)
        for new in map(_new, ids):
            estimate = round(new.estimate_seconds * 1e6)
            given = (new.id, new.spec.queue, new.spec.to_json(), estimate, "", "", "", "", 0)
            pipe.evalsha(script.sha, 0, "submit", text, *map(str, given))
        for answer in pipe.execute():
            if answer[0] != b"created":
                raise SystemExit(f"a submission was answered with {answer[0]!r}: nothing to measure")

    async def connect(self) -> JobStore:
        """A store, with its connection made; cursors of the pages after the first are fetched with it."""
        store = JobStore.connect(self._settings)
        while len(self._cursors) < 10:
            page = await store.list_jobs(limit=_PAGE, cursor=self._cursors[-1])
            if page.next_cursor is None:
                break
            self._cursors.append(page.next_cursor)
        return store

    async def submit(self, store: JobStore) -> float:
        return await _timed(store.submit(_new(self._id())))

    async def admit(self, store: JobStore) -> float:
        """The end of a job, which admits the next: that call is timed, the work before it is not."""
        lease = await store.claim(self._at_work, "bench:0")
        if not isinstance(lease, Lease):
            raise SystemExit(f"a claim was answered with {lease}: nothing to measure")
        outcome = Outcome(ResultKind.COMPLETED, lease.token, _video(lease))
        await store.record(lease, outcome)
        since = time.perf_counter()
        (admitted,) = await store.complete(self._at_work, outcome)
        self._at_work = admitted.job_id
        return time.perf_counter() - since

    async def position(self, store: JobStore) -> float:
        return await _timed(store.get(self._draw.choice(self._known)))

    async def page(self, store: JobStore) -> float:
        return await _timed(store.list_jobs(limit=_PAGE, cursor=self._draw.choice(self._cursors)))

    async def books(self, store: JobStore) -> float:
        return await _timed(store.audit())


async def _timed(call: Awaitable[object]) -> float:
    since = time.perf_counter()
    await call
    return time.perf_counter() - since


async def _medians(backlogs: Sequence[_Backlog], calls: int) -> dict[str, list[float]]:
    """Name → seconds at each size. The sizes take turns: what else the machine does slows all of them."""
    stores = [await backlog.connect() for backlog in backlogs]
    kinds = {
        "submit": _Backlog.submit,
        "queue position": _Backlog.position,
        "list page": _Backlog.page,
        "a batch of the books": _Backlog.books,
        "admit": _Backlog.admit,  # the last: it ends jobs
    }
    found = {}
    for name, call in kinds.items():
        rounds = [
            [await call(backlog, store) for backlog, store in zip(backlogs, stores, strict=True)]
            for _ in range(calls)
        ]
        found[name] = [median(times) for times in zip(*rounds, strict=True)]
    for store in stores:
        await store.close()
    return found


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
