"""A job in several deliveries: budgets and late events. Time is moved by the tests."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from jobs.job import EventKind, Job, Status
from tests.inference_service.rig import Rig, Scripted, until
from tests.inference_service.slicing import LONG, Clock, etag, in_one_go
from tests.inference_service.support import SPEC


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
