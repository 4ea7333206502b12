"""Retention: an ended job is marked, its objects go, then its record."""

from __future__ import annotations

import pytest

from jobs.errors import JobNotFound
from jobs.job import Status
from jobs.store import Ignored
from tests.jobs.store.support import Rig, new_job

WEEK = 7 * 86400


async def cancelled(rig: Rig, key: str = "http:k") -> str:
    job = (await rig.store.submit(new_job(key=key, fingerprint="a"))).job
    for delivery in (await rig.store.cancel(job.id)).deliveries:
        await rig.store.published(delivery)
    return job.id


async def expired(rig: Rig) -> list[str]:
    return [e.job_id for e in await rig.store.expire()]


async def test_an_ended_job_is_kept_for_the_retention(rig: Rig) -> None:
    job_id = await cancelled(rig)
    await rig.advance(WEEK - 1)
    assert await expired(rig) == []
    assert (await rig.store.get(job_id)).status is Status.CANCELLED


async def test_an_expired_job_is_not_found_any_more(rig: Rig) -> None:
    job_id = await cancelled(rig)
    await rig.advance(WEEK)
    assert await expired(rig) == [job_id]
    with pytest.raises(JobNotFound):
        await rig.store.get(job_id)
    with pytest.raises(JobNotFound):
        await rig.store.cancel(job_id)
    assert await rig.store.claim(job_id, "gpu-0") == Ignored("unknown")
    assert (await rig.store.list_jobs()).jobs == ()


async def test_it_is_given_out_again_until_it_is_forgotten(rig: Rig) -> None:
    job_id = await cancelled(rig)
    await rig.advance(WEEK)
    assert await expired(rig) == [job_id]
    assert await expired(rig) == [job_id]
    await rig.store.forget(job_id)
    await rig.store.forget(job_id)
    assert await expired(rig) == []


async def test_nothing_is_left_of_a_forgotten_job(rig: Rig) -> None:
    await rig.store.tick()
    job_id = await cancelled(rig)
    await rig.advance(WEEK)
    await expired(rig)
    await rig.store.forget(job_id)
    assert sorted(await rig.redis.keys("*")) == ["now", "pool:mochi-1", "seq"]


async def test_its_idempotency_key_is_free_again(rig: Rig) -> None:
    first = await cancelled(rig)
    await rig.advance(WEEK)
    await expired(rig)
    again = await rig.store.submit(new_job(key="http:k", fingerprint="another"))
    assert again.created
    await rig.store.forget(first)  # and forgetting the first leaves the second's key
    assert not (await rig.store.submit(new_job(key="http:k", fingerprint="another"))).created


async def test_only_expired_jobs_can_be_forgotten(rig: Rig) -> None:
    job_id = await cancelled(rig)
    await rig.store.forget(job_id)
    assert (await rig.store.get(job_id)).id == job_id


async def test_a_job_that_has_not_ended_never_expires(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(10 * WEEK)
    assert await expired(rig) == []
    assert (await rig.store.get(job.id)).status is Status.PENDING


async def test_a_batch_is_as_large_as_asked(rig: Rig) -> None:
    ids = [await cancelled(rig, f"http:{n}") for n in range(5)]
    await rig.advance(WEEK)
    assert len(await rig.store.expire(2)) == 2
    assert sorted(e.job_id for e in await rig.store.expire(10)) == sorted(ids)
