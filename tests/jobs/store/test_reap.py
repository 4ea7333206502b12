"""Rows 12, 13 and 15: what was lost is mended, once, however many reapers there are."""

from __future__ import annotations

import asyncio

import pytest

from jobs.job import Delivery, EventKind, Outcome, ResultKind, Status, rfc3339
from tests.jobs.store.support import T0, Rig, asked, done, new_job


async def reap_all(rig: Rig) -> list[Delivery]:
    deliveries: list[Delivery] = []
    for job_id in await rig.store.due():
        deliveries += await rig.store.reap(job_id)
    return deliveries


async def test_what_is_due_comes_most_overdue_first(rig: Rig) -> None:
    rig.with_limit(3)
    ids = []
    for _ in range(3):
        ids.append((await rig.submit()).job.id)
        await rig.advance(1)
    assert list(await rig.store.due()) == []
    await rig.advance(8)
    assert list(await rig.store.due()) == ids[:2]
    assert list(await rig.store.due(1)) == ids[:1]


async def test_what_is_not_due_is_left_alone(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(59)
    before = await rig.record_of(lease.job)
    assert await rig.store.reap(lease.job.id) == ()
    assert await rig.record_of(lease.job) == before
    assert await rig.store.reap("0" * 32) == ()


async def test_a_lease_that_lives_is_left_alone_whatever_the_agenda_says(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.redis.zadd("credits:mochi-1", {lease.job.id: 0})
    assert await rig.store.reap(lease.job.id) == ()
    assert (await rig.record_of(lease.job))["token"] == lease.token
    assert await rig.due(lease.job.id) == 60


async def test_an_event_that_nobody_claimed_is_published_again(rig: Rig) -> None:
    submission = await rig.submit()
    await rig.advance(10)
    (delivery,) = await reap_all(rig)
    assert (delivery.kind, delivery.delivery) == (EventKind.REQUESTED, rig.now)
    assert delivery.event_id != submission.deliveries[0].event_id
    assert await rig.due(submission.job.id) == 20
    record = await rig.record_of(submission.job)
    assert record["since"] == str(submission.job.delivery)
    assert record["delivery"] == str(rig.now)


async def test_a_lost_continuation_is_published_again_as_one(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.yield_(lease)
    await rig.advance(600)
    (delivery,) = await reap_all(rig)
    assert delivery.kind is EventKind.CONTINUED
    assert (await rig.store.get(lease.job.id)).status is Status.PROCESSING


async def test_after_six_reissues_the_job_waits_and_the_pool_pauses(rig: Rig) -> None:
    job = (await rig.submit()).job
    for n in range(6):
        await rig.advance(10 * 2**n)
        assert asked(await reap_all(rig)) == [job.id]
    await rig.advance(10 * 2**6)
    assert await reap_all(rig) == []
    now = await rig.store.get(job.id)
    assert (now.status, now.position) == (Status.PENDING, 0)
    assert (await rig.store.stats()).paused_seconds == 10
    await rig.advance(10)
    assert asked(await rig.store.tick()) == [job.id]
    assert "reissues" not in await rig.record_of(job)


async def test_a_recorded_result_whose_event_was_lost_is_completed(rig: Rig) -> None:
    lease = await rig.claimed()
    second = (await rig.submit()).job
    reply = await rig.store.record(lease, done(lease))
    await rig.advance(30)
    deliveries = await reap_all(rig)
    assert deliveries[0] == reply  # the same fact, the same event
    assert asked(deliveries) == [second.id]
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.artifact) == (Status.COMPLETED, done(lease).artifact)
    assert await rig.redis.zscore("outbox:mochi-1", job.id) is not None


async def test_a_lost_lease_is_a_strike_and_another_turn(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(60)
    assert asked(await reap_all(rig)) == [lease.job.id]
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.attempt) == (Status.PENDING, 1)
    assert [m.status for m in job.milestones][-3:] == [Status.PROCESSING, Status.PENDING, Status.PENDING]
    record = await rig.record_of(job)
    assert record["strikes"] == "1"
    assert "token" not in record


async def test_a_lost_lease_with_a_new_checkpoint_is_no_strike(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.checkpoint(lease, "checkpoints/a", 3)
    await rig.advance(60)
    await reap_all(rig)
    assert "strikes" not in await rig.record_of(lease.job)
    assert (await rig.claim(lease.job.id)).checkpoint_step == 3


async def test_the_third_strike_fails_with_each_reason(rig: Rig) -> None:
    job = (await rig.submit()).job
    for n in range(3):
        await rig.claim(job.id, f"gpu-{n}")
        await rig.advance(60)
        deliveries = await reap_all(rig)
    assert [d.kind for d in deliveries] == [EventKind.FAILED]
    error = (await rig.store.get(job.id)).error
    assert error is not None
    assert error.code == "attempts_exhausted"
    assert all(f"gpu-{n}" in error.message for n in range(3))
    assert (await rig.store.stats()).credits == 0


async def test_a_lost_lease_of_a_cancelled_job_ends_it(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.cancel(lease.job.id)
    await rig.advance(60)
    (delivery,) = await reap_all(rig)
    assert delivery.outcome == Outcome(ResultKind.CANCELLED)
    assert (await rig.store.get(lease.job.id)).status is Status.CANCELLED


@pytest.mark.parametrize("at_work", [True, False])
async def test_a_deadline_ends_what_is_overdue(rig: Rig, at_work: bool) -> None:
    job = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 5_000_000)))).job
    if at_work:
        await rig.claim(job.id)
    await rig.advance(60)
    (delivery,) = await reap_all(rig)
    assert delivery.outcome is not None
    assert delivery.outcome.error is not None
    assert delivery.outcome.error.code == "deadline_exceeded"


@pytest.mark.parametrize("seconds", [10, 60])
async def test_two_reapers_at_once_mend_once(rig: Rig, seconds: int) -> None:
    job = (await rig.submit()).job
    if seconds == 60:
        await rig.claim(job.id)
    await rig.advance(seconds)
    answers = await asyncio.gather(*(rig.store.reap(job.id) for _ in range(10)))
    assert sum(len(a) for a in answers) == 1


async def test_a_credit_whose_record_was_removed_by_hand_is_freed(rig: Rig) -> None:
    first, second = (await rig.submit()).job, (await rig.submit()).job
    await rig.redis.delete(f"job:{first.id}")
    await rig.advance(10)
    assert asked(await reap_all(rig)) == [second.id]


async def test_the_tick_ends_waiting_jobs_whose_deadline_has_passed(rig: Rig) -> None:
    await rig.claimed()
    waiting = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 5_000_000)))).job
    assert await rig.store.tick() == ()
    await rig.advance(5)
    (delivery,) = await rig.store.tick()
    assert (delivery.kind, delivery.job_id) == (EventKind.FAILED, waiting.id)
    assert await rig.store.tick() == ()
    assert await rig.places(waiting.id) == []
    assert await rig.redis.zcard("deadlines:mochi-1") == 0


async def test_the_tick_leaves_the_deadline_of_a_job_at_work_to_its_holder(rig: Rig) -> None:
    job = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 5_000_000)))).job
    await rig.claim(job.id)
    await rig.advance(5)
    assert await rig.store.tick() == ()
    assert (await rig.store.get(job.id)).status is Status.PROCESSING


async def test_a_tick_on_an_empty_store(rig: Rig) -> None:
    assert await rig.store.tick() == ()
    assert list(await rig.store.due()) == []


async def test_two_ticks_at_once_admit_once(rig: Rig) -> None:
    jobs = [(await rig.submit()).job for _ in range(4)]
    store = rig.with_limit(3)
    answers = await asyncio.gather(*(store.tick() for _ in range(10)))
    assert sorted(i for a in answers for i in asked(a)) == sorted(j.id for j in jobs[1:3])
