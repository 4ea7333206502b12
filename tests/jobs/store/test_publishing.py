"""Row 3 and the outbox: what was published is not published again too early, what was not is."""

from __future__ import annotations

import pytest

from jobs.job import Delivery, EventKind
from tests.jobs.store.support import Rig, asked, done


async def ended_by_cancel(rig: Rig) -> tuple[Delivery, ...]:
    return (await rig.store.cancel((await rig.submit()).job.id)).deliveries


async def test_a_published_event_is_due_after_the_grace(rig: Rig) -> None:
    submission = await rig.submit()
    await rig.store.published(submission.deliveries[0])
    assert await rig.due(submission.job.id) == 600
    await rig.store.published(submission.deliveries[0])  # twice is as good
    assert await rig.due(submission.job.id) == 600


async def test_the_grace_doubles_with_each_reissue(rig: Rig) -> None:
    submission = await rig.submit()
    job, deliveries = submission.job, submission.deliveries
    for grace in (600, 1200, 2400, 4800):
        await rig.store.published(deliveries[0])
        assert await rig.due(job.id) == grace
        await rig.advance(grace)
        deliveries = await rig.store.reap(job.id)
        assert asked(deliveries) == [job.id]


async def test_an_older_delivery_says_nothing(rig: Rig) -> None:
    submission = await rig.submit()
    await rig.advance(10)
    await rig.store.reap(submission.job.id)
    due = await rig.due(submission.job.id)
    await rig.store.published(submission.deliveries[0])
    assert await rig.due(submission.job.id) == due


async def test_a_lease_is_not_stretched_by_the_news_that_its_event_was_published(rig: Rig) -> None:
    submission = await rig.submit()
    await rig.claim(submission.job.id)
    await rig.store.published(submission.deliveries[0])
    assert await rig.due(submission.job.id) == 60


async def test_a_recorded_result_does_not_wait_for_the_grace(rig: Rig) -> None:
    lease = await rig.claimed()
    reply = await rig.store.record(lease, done(lease))
    assert reply is not None
    await rig.store.published(reply)
    assert await rig.due(lease.job.id) == 30


async def test_an_unpublished_end_comes_back_from_the_tick(rig: Rig) -> None:
    (delivery,) = await ended_by_cancel(rig)
    assert delivery.kind is EventKind.CANCELLED
    assert await rig.store.tick() == ()  # whoever ended it is still publishing
    await rig.advance(11)
    assert await rig.store.tick() == (delivery,)  # the same event, with the same id
    assert await rig.store.tick() == (delivery,)


async def test_a_published_end_does_not(rig: Rig) -> None:
    (delivery,) = await ended_by_cancel(rig)
    await rig.store.published(delivery)
    await rig.advance(60)
    assert await rig.store.tick() == ()
    assert await rig.redis.zcard("outbox:mochi-1") == 0


async def test_a_completion_leaves_nothing_to_publish(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.record(lease, done(lease))
    assert await rig.store.complete(lease.job.id, done(lease)) == ()
    await rig.advance(60)
    assert await rig.store.tick() == ()


@pytest.mark.parametrize("kind", [EventKind.REQUESTED, EventKind.CANCELLED])
async def test_publishing_of_an_unknown_job_is_no_error(rig: Rig, kind: EventKind) -> None:
    await rig.store.published(Delivery(kind, "0" * 32, "short-low", 1, 0))
    assert await rig.redis.keys("job:*") == []
