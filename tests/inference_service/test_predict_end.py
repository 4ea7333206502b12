"""The end of the predictor's process, and replies that nobody waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from eventing.events import TYPE_PREFIX
from inference_service.errors import ShuttingDown
from jobs.job import EventKind
from tests.inference_service.rig import MakeRig, Rig, Scripted, until


async def test_shutting_down_hands_the_job_over_and_refuses_more(
    rig: Rig, pipeline: Scripted, make_rig: MakeRig
) -> None:
    pipeline.script = pipeline.step_forever
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    assert await rig.predictor.end(0, 30)
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    with pytest.raises(ShuttingDown):
        await rig.handle(job)
    another = make_rig(Scripted())
    reply = await another.predictor.handle(job.id, reply.delivery)
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED
    assert await another.files() == []


async def test_what_has_no_steps_may_end_within_the_grace_period(rig: Rig, pipeline: Scripted) -> None:
    decoding = threading.Event()

    def decode() -> None:
        decoding.set()
        assert pipeline.go_on.wait(30)

    pipeline.at_decode = decode
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(decoding.wait, 30)
    ending = asyncio.create_task(rig.predictor.end(60, 0))
    await asyncio.sleep(0)  # it has begun
    with pytest.raises(ShuttingDown):
        rig.predictor.check_free()
    pipeline.go_on.set()
    assert await ending
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED


async def test_a_reply_whose_connection_is_lost_while_it_ends_is_published_first(
    rig: Rig, pipeline: Scripted
) -> None:
    pipeline.script = pipeline.wait
    work = asyncio.create_task(rig.handle(await rig.submit()))
    await asyncio.to_thread(pipeline.started.wait, 30)
    ending = asyncio.create_task(rig.predictor.end(60, 0))
    await asyncio.sleep(0)  # it has begun
    rig.predictor.publish_when_done(work)
    pipeline.go_on.set()
    assert await ending
    assert [event.type for event in rig.publisher.events] == [f"{TYPE_PREFIX}continued"]


async def test_work_that_comes_to_no_step_is_given_up(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.wait
    work = asyncio.create_task(rig.handle(await rig.submit()))
    await asyncio.to_thread(pipeline.started.wait, 30)
    assert not await rig.predictor.end(0, 0)
    pipeline.go_on.set()
    await work


async def test_a_reply_that_nobody_waits_for_is_published(rig: Rig) -> None:
    job = await rig.submit()
    reply = asyncio.create_task(rig.handle(job))
    rig.predictor.publish_when_done(reply)
    done = await reply

    async def published() -> bool:
        return bool(rig.publisher.events)

    await until(published)
    assert done is not None
    (event,) = rig.publisher.events
    assert (event.type, event.id) == (f"{TYPE_PREFIX}completed", done.event_id)
