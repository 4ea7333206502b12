"""list_jobs: newest first, any filter, stable pages."""

from __future__ import annotations

import asyncio
import random
from itertools import product

import pytest

from jobs.errors import InvalidRequest, JobNotFound
from jobs.job import Status
from jobs.listing import write_cursor
from tests.jobs.store.support import Rig, done


async def pages(
    rig: Rig, limit: int, status: Status | None = None, queue: str | None = None
) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = await rig.store.list_jobs(status, queue, limit, cursor)
        found.append([j.id for j in page.jobs])
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_an_empty_store(rig: Rig) -> None:
    page = await rig.store.list_jobs()
    assert (page.jobs, page.next_cursor) == ((), None)


@pytest.mark.parametrize(("count", "limit", "sizes"), [(4, 2, [2, 2]), (5, 2, [2, 2, 1]), (1, 50, [1])])
async def test_pages_end_where_the_jobs_do(rig: Rig, count: int, limit: int, sizes: list[int]) -> None:
    ids = [(await rig.submit(("short-low", "long-high")[n % 2])).job.id for n in range(count)]
    found = await pages(rig, limit)
    assert [len(p) for p in found] == sizes
    assert [i for p in found for i in p] == ids[::-1]


async def test_every_combination_of_filters(rig: Rig) -> None:
    randomly = random.Random(4)
    rig.with_limit(100)
    jobs = {}
    for _ in range(60):
        job = (await rig.submit(randomly.choice(["short-low", "long-high"]))).job
        match randomly.choice(list(Status)):
            case Status.PENDING:
                pass
            case Status.CANCELLED:
                await rig.store.cancel(job.id)
            case status:
                lease = await rig.claim(job.id)
                if status is Status.COMPLETED:
                    await rig.store.complete(job.id, done(lease))
        jobs[job.id] = await rig.store.get(job.id)
    for status, queue in product([None, *Status], [None, "short-low", "long-high"]):
        wanted = [
            j.id for j in reversed(jobs.values()) if status in (None, j.status) and queue in (None, j.queue)
        ]
        for limit in (1, 7, 200):
            assert [i for p in await pages(rig, limit, status, queue) for i in p] == wanted
    assert await pages(rig, 10, queue="no-such-queue") == [[]]


async def test_one_status_alone_over_many_pages(rig: Rig) -> None:
    ids = [(await rig.submit()).job.id for _ in range(101)]
    found = await pages(rig, 10, Status.PENDING, "short-low")
    assert [i for p in found for i in p] == ids[::-1]


async def test_new_jobs_shift_no_page(rig: Rig) -> None:
    old = [(await rig.submit()).job.id for _ in range(20)]
    found, cursor = [], None
    while True:
        coming = [asyncio.create_task(rig.submit("long-high")) for _ in range(3)]
        page = await rig.store.list_jobs(limit=3, cursor=cursor)
        await asyncio.gather(*coming)
        found += [j.id for j in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [i for i in found if i in old] == old[::-1]
    assert len(found) == len(set(found))


async def test_a_listed_job_is_the_one_that_get_gives(rig: Rig) -> None:
    for _ in range(3):
        await rig.submit()
    for job in (await rig.store.list_jobs()).jobs:
        assert job == await rig.store.get(job.id)


@pytest.mark.parametrize(
    "cursor",
    ["", "1", "made-up", "W10", "é", "=" * 50, "x" * 200, write_cursor("5")[:-1], write_cursor("5") + "A"],
)
async def test_a_cursor_that_was_made_up(rig: Rig, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await rig.store.list_jobs(cursor=cursor)
    assert [e.field for e in caught.value.errors] == ["cursor"]


async def test_a_damaged_record_spoils_no_page(rig: Rig) -> None:
    jobs = [(await rig.submit()).job for _ in range(7)]
    key = [f"job:{j.id}" for j in jobs]
    await rig.redis.hset(key[0], mapping={"step": "many", "milestones": "x 1:2 :: 1:unknown:1", "new": "1"})
    await rig.redis.hset(key[1], "status", "melting")
    await rig.redis.hset(key[2], "request", '{"prompt": 1')
    await rig.redis.hset(key[3], "request", "[]")
    await rig.redis.delete(key[4])
    await rig.redis.set(key[5], "no hash")
    page = await rig.store.list_jobs()
    assert [j.id for j in page.jobs] == [jobs[6].id, jobs[0].id]
    assert (page.jobs[1].step, page.jobs[1].milestones) == (0, ())
    for job in (jobs[2], jobs[3], jobs[4]):
        with pytest.raises(JobNotFound):
            await rig.store.get(job.id)


async def test_no_bytes_in_a_record_spoil_a_page(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.redis.execute_command("HSET", f"job:{job.id}", "traceparent", b"\xff\xfe")
    assert [j.id for j in (await rig.store.list_jobs()).jobs] == [job.id]
