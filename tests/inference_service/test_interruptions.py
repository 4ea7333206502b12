"""Each way to be interrupted, and what the next attempt makes of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from inference_service.job_files import JobFiles
from inference_service.lease_keeper import PHASE_LIMITS, LeaseKeeper
from inference_service.pipeline import Frames, Latents, Progress, StopReason, VideoPipeline
from jobs.job import Delivery, EventKind, Job, Phase
from jobs.profile import Profile
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.storage import StoredObject
from jobs.store import JobStore, Lease
from tests.inference_service.rig import MakeRig, Rig, Scripted, real_time, until
from tests.inference_service.slicing import LONG, Clock, Refusing, etag
from tests.inference_service.support import SPEC

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


async def test_sigterm_before_the_first_step_is_no_strike(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit(LONG)
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    ending = asyncio.create_task(rig.predictor.end(60, 0))
    await asyncio.sleep(0)  # it has begun
    pipeline.go_on.set()
    assert await ending
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    record = await rig.record(job)
    assert record["checkpoint_step"] == "1"
    assert "strikes" not in record
    rig.change()
    assert (await rig.to_the_end(replace(job, delivery=reply.delivery)))[-1].kind is EventKind.COMPLETED
    assert pipeline.steps == list(range(1, 11))


async def test_sigterm_while_the_object_store_is_away_is_no_strike_and_costs_no_step_here(
    rig: Rig, pipeline: Scripted
) -> None:
    whole_storage = rig.storage
    third, go_on = threading.Event(), threading.Event()

    def step(number: int) -> None:
        if number == 3:
            third.set()
            assert go_on.wait(30)

    pipeline.before_step = step
    rig.change(storage=Refusing(whole_storage, lambda key: key.startswith("checkpoints/")))
    job = await rig.submit(LONG)
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(third.wait, 30)
    ending = asyncio.create_task(rig.predictor.end(60, 0))
    await asyncio.sleep(0)  # it has begun
    go_on.set()
    assert await ending
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    record = await rig.record(job)
    assert "checkpoint" not in record
    assert "strikes" not in record
    rig.change(storage=whole_storage)
    await rig.to_the_end(replace(job, delivery=reply.delivery))
    assert pipeline.starts == [0, 3]
    assert pipeline.steps == list(range(1, 11))


async def test_sigterm_in_a_phase_without_steps_keeps_those_that_were_done(
    rig: Rig, pipeline: Scripted, settings: Settings
) -> None:
    keepers: list[LeaseKeeper] = []

    def keep(lease: Lease, claimed_at: float) -> LeaseKeeper:
        keepers.append(LeaseKeeper(lease, lambda: JobStore.connect(settings), claimed_at))
        return keepers[-1]

    async def told() -> bool:
        return keepers[-1].reason is StopReason.SHUTDOWN

    rig.change(keep=keep)
    decoding, go_on = threading.Event(), threading.Event()

    def decode() -> None:
        decoding.set()
        assert go_on.wait(30)

    pipeline.at_decode = decode
    job = await rig.submit(LONG)
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(decoding.wait, 30)
    ending = asyncio.create_task(rig.predictor.end(0, 60))
    await until(told)
    go_on.set()
    assert await ending
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    record = await rig.record(job)
    assert record["checkpoint_step"] == "10"
    assert "strikes" not in record


async def test_sigterm_while_uploading_keeps_the_decoded_frames(rig: Rig, pipeline: Scripted) -> None:
    uploading, storage = threading.Event(), rig.storage

    def refuses(key: str) -> bool:
        if key.startswith("videos/"):
            uploading.set()
        return key.startswith("videos/")

    rig.change(storage=Refusing(storage, refuses))
    job = await rig.submit(LONG)
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(uploading.wait, 30)
    assert await rig.predictor.end(0, 60)
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    assert (await rig.record(job))["checkpoint_step"] == "10", "for another volume"
    rig.change(storage=storage)
    last = (await rig.to_the_end(replace(job, delivery=reply.delivery)))[-1]
    assert last.kind is EventKind.COMPLETED
    assert (pipeline.decoded, pipeline.steps) == (1, list(range(1, 11)))


@pytest.mark.parametrize("settings_changes", [{"lease_seconds": 1}])
async def test_a_death_while_uploading_does_not_decode_again_and_a_stale_predictor_is_not_referred_to(
    rig: Rig, pipeline: Scripted, settings: Settings
) -> None:
    uploading, go_on = threading.Event(), threading.Event()

    class Slow(Refusing):
        def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
            uploading.set()
            assert go_on.wait(60)
            return super().put(key, source, content_type)

    def keep(lease: Lease, claimed_at: float) -> LeaseKeeper:
        limits = {**PHASE_LIMITS, Phase.UPLOADING: 0.0}
        return LeaseKeeper(lease, lambda: JobStore.connect(settings), claimed_at, limits)

    job = await rig.submit(LONG)
    takes_over = rig.predictor
    rig.change(storage=Slow(rig.storage, lambda _key: False), keep=keep)
    stale = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(uploading.wait, 30)
    replies: list[Delivery] = []

    async def completed() -> bool:
        reply = await takes_over.handle(job.id, job.delivery)
        replies.extend([reply] if reply else [])
        return bool(replies)

    await until(completed)
    go_on.set()
    assert await stale is None
    assert (pipeline.decoded, pipeline.steps) == (1, list(range(1, 11)))
    outcome = replies[0].outcome
    assert outcome is not None
    assert outcome.artifact is not None
    assert outcome.artifact.key.startswith(f"videos/{job.id}/2-")
    assert rig.storage.head(outcome.artifact.key) is not None


# The real pipeline, with the tiny model: each way to be interrupted, and the same video


class Hooked:
    """The tiny model, and something that happens after a step."""

    def __init__(self, pipeline: VideoPipeline) -> None:
        self._pipeline = pipeline
        self.after_step: Callable[[int], None] = lambda _step: None
        self.starts: list[int] = []

    @property
    def profile(self) -> Profile:
        return self._pipeline.profile

    @property
    def identity(self) -> Mapping[str, str]:
        return self._pipeline.identity

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        hooked = self
        self.starts.append(start.step if start else 0)

        class Hook:
            def entered(self, phase: Phase, step: int) -> None:
                progress.entered(phase, step)

            def stepped(self, step: int, latents: Callable[[], Latents]) -> bool:
                hooked.after_step(step)
                return progress.stepped(step, latents)

        return self._pipeline.denoise(spec, start, Hook())

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
        return self._pipeline.decode(spec, latents, progress)


@pytest.fixture
def hooked(make_rig: MakeRig, tiny: VideoPipeline) -> tuple[Rig, Hooked]:
    pipeline = Hooked(tiny)
    return make_rig(pipeline), pipeline


async def by_its_budget(rig: Rig, pipeline: Hooked, job: Job) -> int:
    clock = Clock()
    rig.change(clock=clock, slice_seconds=350.0, keep=real_time(rig.settings))
    pipeline.after_step = lambda _step: clock.add(100)
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    return reply.delivery


async def by_sigterm(rig: Rig, pipeline: Hooked, job: Job) -> int:
    ending: list[asyncio.Future[bool]] = []
    loop, third, go_on = asyncio.get_running_loop(), threading.Event(), threading.Event()

    def step(number: int) -> None:
        if number == 3:
            third.set()
            assert go_on.wait(30)

    pipeline.after_step = step
    work = asyncio.create_task(rig.handle(job))
    await loop.run_in_executor(None, third.wait, 30)
    ending.append(asyncio.create_task(rig.predictor.end(60, 0)))
    await asyncio.sleep(0)  # it has begun
    go_on.set()
    assert await ending[0]
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    return reply.delivery


async def by_a_lost_lease(rig: Rig, pipeline: Hooked, job: Job) -> int:
    """It hangs after its third step, past its lease; another takes over, from its checkpoint."""
    clock, hangs, go_on = Clock(), threading.Event(), threading.Event()

    def keep(lease: Lease, _claimed_at: float) -> LeaseKeeper:
        limits = {**PHASE_LIMITS, Phase.DENOISING: 0.0}
        return LeaseKeeper(lease, lambda: JobStore.connect(rig.settings), time.monotonic(), limits)

    async with rig.watched() as store:
        rig.change(clock=clock, keep=keep)

        def step(number: int) -> None:
            if number == 4:
                store.wait_for(3)
                hangs.set()
                assert go_on.wait(30)
            clock.add(10)

        pipeline.after_step = step
        stale = asyncio.create_task(rig.handle(job))
        await asyncio.to_thread(hangs.wait, 30)

        async def over() -> bool:
            return int((await rig.record(job))["lease_until"]) < await rig.store.now_us()

        await until(over)
        thief = await rig.store.claim(job.id, "thief")
        assert isinstance(thief, Lease)
        go_on.set()
        assert await stale is None
        again = await rig.store.yield_(thief)
        assert again is not None
        return again.delivery


@pytest.mark.parametrize("settings_changes", [{"lease_seconds": 2}])
@pytest.mark.parametrize("interrupt", [by_its_budget, by_sigterm, by_a_lost_lease], ids=lambda f: f.__name__)
async def test_the_same_video_whatever_interrupts_it(
    hooked: tuple[Rig, Hooked], interrupt: Callable[[Rig, Hooked, Job], Awaitable[int]]
) -> None:
    rig, pipeline = hooked
    spec = replace(SPEC, num_inference_steps=8)
    (whole,) = await rig.to_the_end(await rig.submit(spec))
    job, tools = await rig.submit(spec), rig.tools
    delivery = await interrupt(rig, pipeline, job)
    pipeline.after_step = lambda _step: None
    rig.tools = tools
    rig.change(files=JobFiles(rig.scratch / "another host"))
    last = (await rig.to_the_end(replace(job, delivery=delivery)))[-1]
    assert pipeline.starts == [0, 0, 3]
    assert etag(last) == etag(whole)
