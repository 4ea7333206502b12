"""A job in several deliveries: budgets, checkpoints, resumption. Time is moved by the tests."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from prometheus_client import REGISTRY

from inference_service.job_files import JobFiles
from inference_service.lease_keeper import PHASE_LIMITS, LeaseKeeper
from inference_service.pipeline import Frames, Latents, Progress, VideoPipeline
from inference_service.predict import Predictor
from jobs.errors import StorageUnavailable
from jobs.job import Delivery, EventKind, Job, Phase, Status
from jobs.profile import Profile
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.storage import StoredObject, VideoStorage
from jobs.store import JobStore, Lease
from tests.inference_service.rig import MakeRig, Rig, Scripted, real_time, until
from tests.inference_service.support import SPEC

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")

LONG = replace(SPEC, num_inference_steps=10)


class Clock:
    """The real clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added

    def add(self, seconds: float) -> None:
        self.added += seconds


@pytest.fixture
def clock(rig: Rig, settings: Settings) -> Clock:
    """The predictor's."""
    clock = Clock()

    rig.change(clock=clock, keep=real_time(settings))
    return clock


@pytest.fixture
def steps_of_100_seconds(pipeline: Scripted, clock: Clock) -> None:
    pipeline.before_step = lambda _step: clock.add(100)


def etag(reply: Delivery) -> str:
    assert reply.kind is EventKind.COMPLETED
    assert reply.outcome is not None
    assert reply.outcome.artifact is not None
    return reply.outcome.artifact.etag


async def in_one_go(rig: Rig) -> str:
    """What the video of the long job is to be."""
    whole = Predictor(replace(rig.tools, pipeline=Scripted()))
    job = await rig.submit(LONG)
    reply = await whole.handle(job.id, job.delivery)
    assert reply is not None
    await rig.complete(reply)
    return etag(reply)


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_a_job_longer_than_a_slice_is_done_in_slices_and_no_step_twice(
    rig: Rig, pipeline: Scripted
) -> None:
    wanted = await in_one_go(rig)
    job = await rig.submit(LONG)
    replies = await rig.to_the_end(job)
    assert [reply.kind for reply in replies] == [*["continued"] * 4, "completed"]
    assert pipeline.starts == [0, 2, 4, 6, 8]
    assert pipeline.steps == list(range(1, 11))
    assert etag(replies[-1]) == wanted
    assert await rig.files() == []
    assert rig.checkpoints(job) == []
    assert "strikes" not in await rig.record(job)
    assert (await rig.store.get(job.id)).status is Status.COMPLETED


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_each_slice_does_a_step_however_long_it_takes(rig: Rig, pipeline: Scripted) -> None:
    rig.change(slice_seconds=30.0)
    replies = await rig.to_the_end(await rig.submit(replace(SPEC, num_inference_steps=3)))
    # All steps are done in the third: its decode comes in a slice of its own.
    assert [reply.kind for reply in replies] == [*["continued"] * 3, "completed"]
    assert pipeline.steps == [1, 2, 3]


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_the_age_of_the_event_at_the_claim_is_gone_from_the_budget(
    rig: Rig, pipeline: Scripted
) -> None:
    async with rig.watched() as store:
        store.older = 80
        reply = await rig.handle(await rig.submit(LONG))
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    assert pipeline.steps == [1]


async def test_a_decode_that_does_not_fit_comes_first_in_the_next_slice(
    rig: Rig, pipeline: Scripted, clock: Clock
) -> None:
    rig.change(checkpoint_seconds=10_000.0)
    pipeline.before_step = lambda _step: clock.add(30)
    pipeline.at_decode = lambda: clock.add(200)
    await rig.to_the_end(await rig.submit())  # measures a decode
    pipeline.starts.clear()
    job = await rig.submit(replace(SPEC, seed=8))
    assert [reply.kind for reply in await rig.to_the_end(job)] == ["continued", "completed"]
    assert pipeline.starts == [0]
    assert pipeline.decoded == 2


async def test_a_decode_that_fits_into_no_slice_is_begun_at_the_beginning_of_one(
    rig: Rig, pipeline: Scripted, clock: Clock
) -> None:
    pipeline.at_decode = lambda: clock.add(1000)
    await rig.to_the_end(await rig.submit())
    job = await rig.submit(replace(SPEC, seed=8))
    assert [reply.kind for reply in await rig.to_the_end(job)] == ["continued", "completed"]


# Late


async def grown_old(rig: Rig, job: Job, seconds: float) -> None:
    async def old() -> bool:
        return await rig.store.now_us() - job.delivery > seconds * 1e6

    await until(old)


async def test_an_event_that_comes_too_late_is_answered_with_a_fresh_one(
    rig: Rig, pipeline: Scripted
) -> None:
    rig.change(slice_seconds=0.5)
    job = await rig.submit()
    await grown_old(rig, job, 0.5)
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    assert reply.delivery > job.delivery
    assert pipeline.calls == []
    assert (await rig.store.get(job.id)).attempt == 0
    assert await rig.handle(job) is None, "its delivery is not the job's any more"


@pytest.mark.parametrize("settings_changes", [{"pool_limit": 2}])
async def test_an_event_waits_for_the_gpu_as_long_as_its_budget_allows(rig: Rig, pipeline: Scripted) -> None:
    rig.change(slice_seconds=1.0)
    pipeline.script = pipeline.wait
    at_work, waiting = await rig.submit(), await rig.submit(replace(SPEC, seed=8))
    work = asyncio.create_task(rig.to_the_end(at_work))
    await asyncio.to_thread(pipeline.started.wait, 30)
    late = await rig.handle(waiting)
    assert late is not None
    assert late.kind is EventKind.CONTINUED
    assert len(pipeline.calls) == 1
    pipeline.go_on.set()
    await work
    assert (await rig.to_the_end(replace(waiting, delivery=late.delivery)))[-1].kind is EventKind.COMPLETED


# Checkpoints


async def test_checkpoints_are_kept_while_it_works(rig: Rig, pipeline: Scripted, clock: Clock) -> None:
    async with rig.watched() as store:
        rig.change(slice_seconds=10_000.0)

        def step(number: int) -> None:
            if number in (4, 7, 10):
                store.wait_for(number - 1)
            clock.add(10)

        pipeline.before_step = step
        job = await rig.submit(LONG)
        await rig.to_the_end(job)
        assert store.steps == [3, 6, 9]
    assert await rig.files() == []
    assert rig.checkpoints(job) == []


async def interrupted(rig: Rig) -> tuple[Job, Delivery]:
    """A job after its first slice, of four steps."""
    job = await rig.submit(LONG)
    rig.change(slice_seconds=450.0)
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    rig.change(slice_seconds=100_000.0)
    return job, reply


def other_model(rig: Rig) -> None:
    class Other(Scripted):
        @property
        def identity(self) -> Mapping[str, str]:
            return {"weights": "other"}

    pipeline = Other()
    pipeline.starts = rig.tools.pipeline.starts  # type: ignore[attr-defined]  # a Scripted
    rig.change(pipeline=pipeline)


def on_another_host(rig: Rig) -> None:
    rig.tools.files.remove(rig.tools.files.jobs()[0])


def torn(rig: Rig) -> None:
    on_another_host(rig)
    (found,) = rig.storage.list("checkpoints/")
    content = b"".join(rig.storage.read(found.key))
    rig.storage.put(found.key, content[:-1], "")


def gone(rig: Rig) -> None:
    on_another_host(rig)
    rig.storage.delete_prefix("checkpoints/")


def torn_here(rig: Rig) -> None:
    (path,) = [p for p in (rig.scratch / "jobs").rglob("*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:-1])


def gone_there(rig: Rig) -> None:
    rig.storage.delete_prefix("checkpoints/")


def nothing(_rig: Rig) -> None:
    """Both copies are whole."""


@pytest.mark.usefixtures("steps_of_100_seconds")
@pytest.mark.parametrize(
    ("damage", "goes_on_from"),
    [
        (nothing, 4),
        (on_another_host, 4),
        (torn_here, 4),
        (gone_there, 4),
        (torn, 0),
        (gone, 0),
        (other_model, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_it_goes_on_from_what_is_whole_and_its_own(
    rig: Rig, pipeline: Scripted, damage: Callable[[Rig], None], goes_on_from: int
) -> None:
    rig.storage.delete_prefix("checkpoints/")
    wanted = await in_one_go(rig)
    job, reply = await interrupted(rig)
    damage(rig)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(replace(job, delivery=reply.delivery))
    assert pipeline.starts == [0, goes_on_from]
    assert etag(replies[-1]) == wanted
    assert [line["event"] for line in logs].count("checkpoint_ignored") == (goes_on_from == 0)


class Refusing:
    """An object store that takes some keys only after a while."""

    def __init__(self, storage: VideoStorage, refuses: Callable[[str], bool]) -> None:
        self._storage, self._refuses = storage, refuses
        self.refused = 0

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        if self._refuses(key):
            self.refused += 1
            raise StorageUnavailable("away")
        return self._storage.put(key, source, content_type)

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_where_no_checkpoint_can_be_kept_the_slice_goes_on(rig: Rig, pipeline: Scripted) -> None:
    storage = Refusing(rig.storage, lambda key: key.startswith("checkpoints/"))
    rig.change(storage=storage)
    job = await rig.submit(LONG)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(job)
    assert [reply.kind for reply in replies] == ["completed"]
    assert pipeline.steps == list(range(1, 11))
    assert storage.refused
    assert "slice_extended" in [line["event"] for line in logs]
    assert "strikes" not in await rig.record(job)


async def test_where_an_older_checkpoint_of_the_slice_is_kept_the_slice_ends(
    rig: Rig, pipeline: Scripted, clock: Clock
) -> None:
    async with rig.watched() as store:
        rig.change(storage=Refusing(rig.storage, lambda key: "step-4/" in key), slice_seconds=450.0)

        def step(number: int) -> None:
            if number == 4:
                store.wait_for(3)
            clock.add(100)

        pipeline.before_step = step
        job = await rig.submit(LONG)
        replies = await rig.to_the_end(job)
    assert replies[0].kind is EventKind.CONTINUED
    assert pipeline.starts[:2] == [0, 3]
    assert "strikes" not in await rig.record(job)


# Interruptions


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


# A full scratch volume


@pytest.fixture
def full() -> Iterator[None]:
    """No file of this process may be larger than 100 kB, as on a volume that has no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LARGE = replace(SPEC, width=128, height=128, num_frames=61)


@pytest.mark.usefixtures("full")
async def test_a_job_goes_on_where_its_frames_cannot_be_kept(rig: Rig) -> None:
    job = await rig.submit(LARGE)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(job)
    assert replies[-1].kind is EventKind.COMPLETED
    assert [line["consequence"] for line in logs if line["event"] == "scratch_full"] == [
        "the decoded frames are not kept"
    ]
    assert await rig.files() == []


@pytest.mark.usefixtures("full")
async def test_a_video_that_cannot_be_written_fails_the_job_with_the_reason(make_rig: MakeRig) -> None:
    class Noise(Scripted):
        def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
            shape = super().decode(spec, latents, progress).shape
            return np.random.default_rng(1).integers(0, 256, shape, np.uint8)

    rig = make_rig(Noise())
    replies = await rig.to_the_end(await rig.submit(LARGE))
    outcome = replies[-1].outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == "scratch_full"
    assert "scratch volume" in outcome.error.message
    assert await rig.files() == []


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_it_is_measured(rig: Rig) -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0.0

    names = (
        "mochi_slices_total",
        "mochi_resumed_steps_total",
        "mochi_checkpoint_seconds_count",
        "mochi_checkpoint_bytes_total",
    )
    before = [value(name) for name in names]
    await rig.to_the_end(await rig.submit(LONG))
    grown = [value(name) - old for name, old in zip(names, before, strict=True)]
    assert grown[:2] == [5, 2 + 4 + 6 + 8]
    assert grown[2] >= 4
    assert grown[3] > 0


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
