"""A predictor with a scripted pipeline, and what stands around it."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import uvicorn
from starlette.applications import Starlette

from eventing.publisher import MemoryPublisher
from inference_service.null_pipeline import NullPipeline
from inference_service.pipeline import Frames, Report, VideoPipeline
from inference_service.predict import Predictor, Tools
from jobs.job import Delivery, Job, Phase
from jobs.profile import Profile
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import JobStore, NewJob
from tests.inference_service.support import SPEC

__all__ = ["MakeRig", "Rig", "Script", "Scripted", "serving", "until"]

Script: TypeAlias = Callable[[VideoSpec, Report], None]


class Scripted:
    """A pipeline that does what it is told, then makes grey frames; it counts its calls."""

    def __init__(self, script: Script = lambda _spec, _report: None) -> None:
        self.script = script
        self.calls: list[VideoSpec] = []
        self.most_at_once = 0
        self.started = threading.Event()
        self.go_on = threading.Event()
        self._at_once = 0

    @property
    def profile(self) -> Profile:
        return NullPipeline().profile

    def generate(self, spec: VideoSpec, report: Report) -> Frames:
        self.calls.append(spec)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.started.set()
            self.script(spec, report)
            return NullPipeline().generate(spec, report)
        finally:
            self._at_once -= 1

    def wait(self, _spec: VideoSpec, _report: Report) -> None:
        """A script: go on when told."""
        assert self.go_on.wait(30)

    def step_forever(self, _spec: VideoSpec, report: Report) -> None:
        """A script: denoise until stopped."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            report(Phase.DENOISING, 1)
            self.go_on.wait(0.01)


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
            connect=lambda: JobStore.connect(settings),
            publisher=self.publisher,
            scratch_dir=scratch,
            slot="test",
        )
        self.predictor = Predictor(self.tools)

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

    def files(self) -> list[Path]:
        return [p for p in self.scratch.rglob("*") if p.is_file()]


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
