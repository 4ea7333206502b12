"""Row 14: an event that the Broker gave up on."""

from __future__ import annotations

import asyncio

import pytest

from jobs.errors import JobNotFound
from jobs.job import EventKind, Job, Phase, Status
from tests.jobs.store.support import Rig, asked, done

NOT_NOW = [0, 404, 408, 429, 500, 502, 503, 504]
NEVER = [400, 401, 413, 422]


async def dead(rig: Rig, job: Job, code: int, reason: str = "no pod came up") -> list[str]:
    now = await rig.store.get(job.id)
    return asked(await rig.store.dead_letter(job.id, now.delivery, code, reason))


@pytest.mark.parametrize("code", NOT_NOW)
async def test_not_now_sends_the_job_back_and_pauses_the_pool(rig: Rig, code: int) -> None:
    first, second = (await rig.submit()).job, (await rig.submit()).job
    assert await dead(rig, first, code) == []  # nor is the next one sent into the same hole
    assert [(await rig.store.get(j.id)).position for j in (first, second)] == [0, 1]
    stats = await rig.store.stats()
    assert (stats.credits, stats.paused_seconds) == (0, 10)
    await rig.advance(10)
    assert asked(await rig.store.tick()) == [first.id]
    assert not {"pauses", "strikes"} & (await rig.record_of(first)).keys()


async def test_each_pause_in_a_row_is_longer_up_to_five_minutes(rig: Rig) -> None:
    job = (await rig.submit()).job
    for seconds in (10, 20, 40, 80, 160, 300, 300):
        await dead(rig, job, 503)
        assert (await rig.store.stats()).paused_seconds == seconds
        await rig.advance(seconds)
        assert asked(await rig.store.tick()) == [job.id]
    await rig.claim(job.id)  # the pool works again
    await rig.advance(60)
    (job_id,) = asked(await rig.store.reap(job.id))
    await dead(rig, await rig.store.get(job_id), 503)
    assert (await rig.store.stats()).paused_seconds == 10


async def test_what_fails_at_once_is_one_pause(rig: Rig) -> None:
    rig.with_limit(5)
    jobs = [(await rig.submit()).job for _ in range(5)]
    for job in jobs:
        await dead(rig, job, 503)
    assert (await rig.store.stats()).paused_seconds == 10


async def test_nothing_is_admitted_while_the_pool_is_paused(rig: Rig) -> None:
    job = (await rig.submit()).job
    await dead(rig, job, 503)
    assert (await rig.submit()).deliveries == ()
    await rig.advance(9)
    assert await rig.store.tick() == ()


@pytest.mark.parametrize("code", NEVER)
async def test_a_refusal_sets_the_job_aside_and_admits_the_next(rig: Rig, code: int) -> None:
    first, second = (await rig.submit()).job, (await rig.submit()).job
    assert await dead(rig, first, code) == [second.id]
    job = await rig.store.get(first.id)
    assert (job.status, job.phase, await rig.places(job.id)) == (
        Status.PENDING,
        Phase.WAITING,
        ["delayed:short-low"],
    )
    assert (await rig.store.stats()).paused_seconds == 0
    await rig.advance(30)
    await rig.store.tick()
    assert await rig.places(job.id) == ["backlog:short-low"]


async def test_the_third_refusal_fails_with_the_reasons(rig: Rig) -> None:
    job = (await rig.submit()).job
    for seconds, reason in ((30, "too odd"), (120, "too long")):
        await dead(rig, job, 422, reason)
        await rig.advance(seconds - 1)
        assert await rig.store.tick() == ()
        await rig.advance(1)
        assert asked(await rig.store.tick()) == [job.id]
    now = await rig.store.get(job.id)
    (delivery,) = await rig.store.dead_letter(job.id, now.delivery, 400, "too late")
    assert delivery.kind is EventKind.FAILED
    error = (await rig.store.get(job.id)).error
    assert error is not None
    assert error.code == "undeliverable"
    for reason in ("422: too odd", "422: too long", "400: too late"):
        assert reason in error.message


async def test_a_reason_takes_little_room(rig: Rig) -> None:
    job = (await rig.submit()).job
    await dead(rig, job, 422, "x" * 10_000)
    assert len((await rig.record_of(job))["refusals"]) <= 200


async def test_a_cancelled_delayed_job_ends(rig: Rig) -> None:
    job = (await rig.submit()).job
    await dead(rig, job, 422)
    assert (await rig.store.cancel(job.id)).job.status is Status.CANCELLED
    assert await rig.places(job.id) == []


async def test_an_older_event_says_nothing(rig: Rig) -> None:
    first = (await rig.submit()).job
    await dead(rig, first, 503)
    await rig.advance(10)
    await rig.store.tick()
    assert await rig.store.dead_letter(first.id, first.delivery, 503, "an old one") == ()
    assert await rig.places(first.id) == ["credits:mochi-1"]


async def test_any_event_since_the_admission_counts(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(10)
    await rig.store.reap(job.id)  # published again: now there are two
    await rig.store.dead_letter(job.id, job.delivery, 503, "the first of them")
    assert await rig.places(job.id) == ["backlog:short-low"]


async def test_a_job_at_work_is_not_disturbed(rig: Rig) -> None:
    lease = await rig.claimed()
    assert await dead(rig, lease.job, 503) == []
    assert (await rig.store.get(lease.job.id)).status is Status.PROCESSING
    await rig.store.record(lease, done(lease))
    assert await dead(rig, lease.job, 503) == []
    await rig.advance(61)  # nor is a result that nobody fetched, once its lease is over
    assert await dead(rig, lease.job, 503) == []
    assert await dead(rig, lease.job, 422) == []
    assert await rig.due(lease.job.id) == -31
    assert (await rig.store.stats()).paused_seconds == 0


async def test_the_event_of_an_attempt_that_died_is_a_strike(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(60)
    await dead(rig, lease.job, 504)
    record = await rig.record_of(lease.job)
    assert (record["status"], record["strikes"]) == ("pending", "1")


async def test_a_continuation_that_nobody_took_goes_back_with_its_checkpoint(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.checkpoint(lease, "checkpoints/a", 2)
    await rig.store.yield_(lease)
    await dead(rig, lease.job, 503)
    await rig.advance(10)
    await rig.store.tick()
    assert (await rig.claim(lease.job.id)).checkpoint_step == 2


async def test_a_dead_letter_that_comes_twice_counts_once(rig: Rig) -> None:
    job = (await rig.submit()).job
    answers = await asyncio.gather(
        *(rig.store.dead_letter(job.id, job.delivery, 422, "no") for _ in range(5))
    )
    assert answers == [()] * 5
    assert (await rig.record_of(job))["pauses"] == "1"


async def test_a_dead_letter_of_an_unknown_or_ended_job(rig: Rig) -> None:
    with pytest.raises(JobNotFound):
        await rig.store.dead_letter("0" * 32, 1, 503, "no")
    job = (await rig.submit()).job
    await rig.store.cancel(job.id)
    assert await rig.store.dead_letter(job.id, job.delivery, 503, "no") == ()
