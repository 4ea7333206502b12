"""Row 1: a job is recorded once, and admitted if the pool has a free credit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jobs.errors import BacklogFull, IdempotencyConflict, InvalidRequest, PoolBusy
from jobs.job import EventKind, Milestone, Phase, Status, rfc3339
from jobs.store import Lease
from tests.jobs.store.support import SPEC, T0, Rig, asked, new_job


async def keys(rig: Rig) -> set[str]:
    return {key for key in await rig.redis.keys("*") if key != "now" and not key.startswith("pool:")}


async def test_the_first_job_is_admitted_at_once_and_its_event_returned(rig: Rig) -> None:
    submission = await rig.store.submit(replace(new_job(), traceparent="00-aa-bb-01"))
    job = submission.job
    assert submission.created
    (delivery,) = submission.deliveries
    assert (delivery.kind, delivery.job_id, delivery.queue) == (EventKind.REQUESTED, job.id, "short-low")
    assert (delivery.delivery, delivery.attempt, delivery.traceparent) == (T0, 0, "00-aa-bb-01")
    assert delivery.outcome is None
    assert (job.status, job.phase, job.delivery) == (Status.PENDING, Phase.STARTING, T0)
    assert (job.position, job.eta_seconds, job.created_us) == (None, None, T0)
    assert job.spec == SPEC
    assert job.milestones == (
        Milestone(T0, T0, Status.PENDING, Phase.WAITING, 0),
        Milestone(T0 + 1, T0 + 1, Status.PENDING, Phase.STARTING, 0),
    )
    assert await rig.due(job.id) == 10
    assert await rig.store.get(job.id) == job


async def test_the_next_one_waits(rig: Rig) -> None:
    first = await rig.submit()
    second = await rig.submit()
    assert second.deliveries == ()
    assert (second.job.phase, second.job.position) == (Phase.WAITING, 0)
    assert second.job.seq > first.job.seq
    assert await rig.places(second.job.id) == ["backlog:short-low"]
    assert (await rig.store.stats()).backlog == {"short-low": 1, "long-high": 0}


async def test_the_record_can_be_read_by_a_person(rig: Rig) -> None:
    record = await rig.record_of((await rig.submit()).job)
    assert record["status"] == "pending"
    assert record["phase"] == "starting"
    assert record["queue"] == "short-low"
    assert SPEC.prompt in record["request"]


async def test_a_repeated_key_is_the_same_job(rig: Rig) -> None:
    first = await rig.store.submit(new_job(key="http:k", fingerprint="a"))
    again = await rig.store.submit(new_job(key="http:k", fingerprint="a"))
    assert (first.created, again.created) == (True, False)
    assert again.job.id == first.job.id
    assert again.deliveries == ()
    assert (await rig.store.stats()).credits == 1


async def test_a_key_of_another_request_is_a_conflict(rig: Rig) -> None:
    first = await rig.store.submit(new_job(key="http:k", fingerprint="a"))
    with pytest.raises(IdempotencyConflict) as caught:
        await rig.store.submit(new_job(key="http:k", fingerprint="b"))
    assert caught.value.job_id == first.job.id
    assert len((await rig.store.list_jobs()).jobs) == 1


async def test_without_a_fingerprint_the_key_is_all(rig: Rig) -> None:
    first = await rig.store.submit(new_job(key="event:/source 1"))
    again = await rig.store.submit(new_job("long-high", key="event:/source 1"))
    assert (again.job.id, again.created) == (first.job.id, False)


async def test_a_key_takes_little_room_however_long_it_is(rig: Rig) -> None:
    await rig.store.submit(new_job(key="http:" + "x" * 100_000, fingerprint="y" * 1000))
    (key,) = await rig.redis.keys("idempotency:*")
    assert len(key) < 64
    assert len(await rig.redis.get(key)) < 100


async def test_one_key_at_the_same_time_is_one_job(rig: Rig) -> None:
    submissions = await asyncio.gather(
        *(rig.store.submit(new_job(key="http:k", fingerprint="a")) for _ in range(20))
    )
    assert len({s.job.id for s in submissions}) == 1
    assert sum(s.created for s in submissions) == 1


async def test_a_submission_sent_twice_is_one_job_and_one_event(rig: Rig) -> None:
    new = new_job()
    first = await rig.store.submit(new)
    again = await rig.store.submit(new)  # the client's answer was lost on the way
    assert again == first


async def test_what_was_sent_twice_and_is_at_work_asks_for_no_gpu(rig: Rig) -> None:
    new = new_job(key="http:k", fingerprint="a")
    await rig.store.submit(new)
    await rig.claim(new.id)
    again = await rig.store.submit(new)
    assert (again.created, again.deliveries) == (True, ())


async def test_a_full_backlog_refuses_and_records_nothing(rig: Rig) -> None:
    rig.settings = replace(rig.settings, backlog_limit=2)
    store = rig.another()
    for n in range(3):
        await store.submit(new_job(key=f"http:{n}", fingerprint="a"))
    before = await keys(rig)
    with pytest.raises(BacklogFull) as caught:
        await store.submit(new_job(key="http:9", fingerprint="a"))
    assert 1 <= (caught.value.retry_after or 0) <= 10
    assert await keys(rig) == before
    assert (await store.submit(new_job("long-high"))).created  # another queue has room
    assert not (await store.submit(new_job(key="http:2", fingerprint="a"))).created  # so has a known key


async def test_a_deadline_that_has_passed_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await rig.store.submit(new_job(deadline=rfc3339(T0)))
    assert [e.field for e in caught.value.errors] == ["deadline"]
    assert await keys(rig) == set()
    assert (await rig.store.submit(new_job(deadline=rfc3339(T0 + 1)))).created


async def test_a_job_at_once_has_its_credit_and_no_event(rig: Rig) -> None:
    submission = await rig.store.submit_now(new_job())
    assert submission.deliveries == ()
    assert (submission.job.phase, submission.job.status) == (Phase.STARTING, Status.PENDING)
    assert await rig.places(submission.job.id) == ["credits:mochi-1"]
    assert isinstance(await rig.store.claim(submission.job.id, "gpu-0"), Lease)


async def test_a_job_at_once_comes_back_when_its_caller_dies(rig: Rig) -> None:
    job = (await rig.store.submit_now(new_job())).job
    await rig.advance(10)
    assert list(await rig.store.due()) == [job.id]
    assert asked(await rig.store.reap(job.id)) == [job.id]


async def test_a_job_at_once_is_refused_without_a_free_credit(rig: Rig) -> None:
    await rig.submit(estimate=30)
    before = await keys(rig)
    with pytest.raises(PoolBusy) as caught:
        await rig.store.submit_now(new_job())
    assert 1 <= (caught.value.retry_after or 0) <= 30
    assert await keys(rig) == before


async def test_a_job_at_once_overtakes_no_waiting_job(rig: Rig) -> None:
    first, second = await rig.submit(), await rig.submit()
    store = rig.with_limit(2)  # a free credit that nobody has given out yet
    with pytest.raises(PoolBusy):
        await store.submit_now(new_job("long-high"))
    assert asked(await store.tick()) == [second.job.id]
    assert await rig.places(first.job.id) == ["credits:mochi-1"]


async def test_a_job_at_once_is_refused_while_the_pool_is_paused(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.store.dead_letter(job.id, job.delivery, 503, "no pod")
    await rig.store.cancel(job.id)
    with pytest.raises(PoolBusy) as caught:
        await rig.store.submit_now(new_job())
    assert (caught.value.retry_after or 0) >= 10
