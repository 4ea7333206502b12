"""A predictor with a scripted pipeline, and what stands around it."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette

from eventing.publisher import MemoryPublisher
from inference_service.job_files import JobFiles
from inference_service.lease_keeper import LeaseKeeper
from inference_service.null_pipeline import NullPipeline
from inference_service.pipeline import Frames, Latents, Progress, VideoPipeline
from inference_service.predict import Predictor
from inference_service.tools import Tools
from jobs.job import Delivery, Job
from jobs.profile import Profile
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import Answered, Ignored, JobStore, Lease, NewJob
from tests.inference_service.support import SPEC

__all__ = ["MakeRig", "Rig", "Script", "Scripted", "Watched", "real_time", "serving", "until"]

Script: TypeAlias = Callable[[VideoSpec, Progress], None]


class Scripted:
    """A pipeline that first does what it is told, then what no model does; it counts its calls."""

    def __init__(self, script: Script = lambda _spec, _progress: None) -> None:
        self.script = script
        self.calls: list[VideoSpec] = []
        self.starts: list[int] = []  # step that each call of `denoise` went on from
        self.steps: list[int] = []  # done, in their order
        self.decoded = 0
        self.most_at_once = 0
        self.started = threading.Event()
        self.go_on = threading.Event()
        #: Called before each step with its number; a test may wait there.
        self.before_step: Callable[[int], None] = lambda _step: None
        #: Called at each decode.
        self.at_decode: Callable[[], object] = lambda: None
        self._at_once = 0
        self._null = NullPipeline(lambda _seconds: self._step())

    @property
    def profile(self) -> Profile:
        return NullPipeline().profile

    @property
    def identity(self) -> Mapping[str, str]:
        return self._null.identity

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        self.calls.append(spec)
        self.starts.append(start.step if start else 0)
        self._next = self.starts[-1]
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.started.set()
            self.script(spec, progress)
            return self._null.denoise(spec, start, progress)
        finally:
            self._at_once -= 1

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
        assert latents.step == spec.num_inference_steps
        self.decoded += 1
        self.at_decode()
        return self._null.decode(spec, latents, progress)

    def _step(self) -> None:
        self._next += 1
        self.before_step(self._next)
        self.steps.append(self._next)

    def wait(self, _spec: VideoSpec, _progress: Progress) -> None:
        """A script: go on when told."""
        assert self.go_on.wait(30)

    def step_forever(self, _spec: VideoSpec, progress: Progress) -> None:
        """A script: denoise until stopped."""
        deadline = time.monotonic() + 60
        latents = Latents(1, "U8", (1,), b"x")
        while time.monotonic() < deadline and progress.stepped(1, lambda: latents):
            self.go_on.wait(0.01)


class Watched(JobStore):
    """Notes the steps of the checkpoints that jobs are pointed to, and can make events older."""

    def __init__(self, settings: Settings, clock: str | None = None) -> None:
        super().__init__(settings, clock)
        self.steps: list[int] = []
        self.older = 0  # seconds

    async def claim(self, job_id: str, slot: str) -> Lease | Answered | Ignored:
        claim = await super().claim(job_id, slot)
        if isinstance(claim, Lease):
            return replace(claim, claimed_us=claim.claimed_us + self.older * 1_000_000)
        return claim

    async def checkpoint(self, lease: Lease, key: str, step: int, unusable: str = "") -> bool:
        pointed = await super().checkpoint(lease, key, step, unusable)
        self.steps.append(step)
        return pointed

    def wait_for(self, step: int) -> None:
        """Block the thread until a job is pointed to this step's checkpoint."""
        deadline = time.monotonic() + 30
        while step not in self.steps:
            assert time.monotonic() < deadline
            time.sleep(0.001)  # nothing that a thread could wait for


class Rig:
    """A predictor and what stands around it."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        storage: VideoStorage,
        scratch: Path,
        pipeline: VideoPipeline,
    ) -> None:
        self.settings, self.store, self.storage, self.scratch = settings, store, storage, scratch
        self.publisher = MemoryPublisher()
        self.tools = Tools(
            store=store,
            storage=storage,
            pipeline=pipeline,
            publisher=self.publisher,
            keep=lambda lease, at: LeaseKeeper(lease, lambda: JobStore.connect(settings), at),
            files=JobFiles(scratch / "jobs"),
            scratch_dir=scratch / "work",
            slot="test",
            slice_seconds=settings.slice_seconds,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        self.predictor = Predictor(self.tools)

    def change(self, **tools: Any) -> None:  # noqa: ANN401  # any of them
        """A new process with other tools, on the same volume."""
        self.tools = replace(self.tools, gpu=ThreadPoolExecutor(1), **tools)
        self.predictor = Predictor(self.tools)

    async def to_the_end(self, job: Job) -> list[Delivery]:
        """Handle the job's events until it has ended; the replies."""
        replies: list[Delivery] = []
        delivery = job.delivery
        while not replies or replies[-1].outcome is None:
            reply = await asyncio.wait_for(self.predictor.handle(job.id, delivery), 60)
            assert reply is not None
            replies.append(reply)
            delivery = reply.delivery
        await self.complete(replies[-1])
        return replies

    async def record(self, job: Job) -> dict[str, str]:
        """The job's hash, with what no method of the store shows."""
        async with Redis.from_url(self.settings.redis_url, decode_responses=True) as redis:
            return await redis.hgetall(f"job:{job.id}")  # type: ignore[no-any-return, misc]  # sync or async by its types

    async def submit(self, spec: VideoSpec = SPEC) -> Job:
        submission = await self.store.submit(NewJob(uuid.uuid4().hex, spec, 1.0))
        for delivery in submission.deliveries:
            await self.store.published(delivery)
        return submission.job

    async def handle(self, job: Job) -> Delivery | None:
        return await asyncio.wait_for(self.predictor.handle(job.id, job.delivery), 60)

    async def complete(self, reply: Delivery) -> tuple[Delivery, ...]:
        assert reply.outcome is not None
        return await self.store.complete(reply.job_id, reply.outcome)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Watched]:
        """A new process with a store of its own, which is closed when all is done."""
        store = Watched.connect(self.settings)
        self.change(store=store)
        yield store
        await self.idle()
        await store.close()

    async def idle(self) -> None:
        """Wait until the predictor has nothing left to do."""

        async def idle() -> bool:
            return not self.predictor.busy

        await until(idle)

    async def files(self) -> list[Path]:
        """What is on the scratch volume once all chores are done."""
        await self.idle()
        return [p for p in self.scratch.rglob("*") if p.is_file()]

    def checkpoints(self, job: Job) -> list[str]:
        """Keys in the object store."""
        return [stored.key for stored in self.storage.list(f"checkpoints/{job.id}/")]


def real_time(settings: Settings) -> Callable[[Lease, float], LeaseKeeper]:
    """A `keep` for tools with another clock: the lease's is the real one."""
    return lambda lease, _at: LeaseKeeper(lease, lambda: JobStore.connect(settings), time.monotonic())


MakeRig: TypeAlias = Callable[[VideoPipeline], Rig]


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """The URL at which the app is served meanwhile."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())

    async def up() -> bool:
        return server.started

    await until(up)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  # another process is watched
            await asyncio.sleep(0.05)
