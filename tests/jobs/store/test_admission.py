"""PUMP: who goes next, and how many at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from jobs.job import EventKind, Phase, Status, rfc3339
from jobs.store import JobStore
from tests.jobs.store.support import Rig, asked, done, new_job


async def test_no_more_are_admitted_than_the_pool_has_credits(rig: Rig) -> None:
    store = rig.with_limit(3)
    submissions = [await rig.submit() for _ in range(5)]
    assert [bool(s.deliveries) for s in submissions] == [True, True, True, False, False]
    assert (await store.stats()).credits == 3


async def test_first_come_first_served_within_a_queue(rig: Rig) -> None:
    ids = [(await rig.submit()).job.id for _ in range(4)]
    order = [ids[0]]
    while admitted := await rig.run(order[-1]):
        order += admitted
    assert order == ids


async def test_a_requeued_job_keeps_its_place(rig: Rig) -> None:
    first, second = (await rig.submit()).job, (await rig.submit()).job
    await rig.claim(first.id)
    await rig.advance(61)
    assert asked(await rig.store.reap(first.id)) == [first.id]  # before the second, which is as old
    assert (await rig.store.get(first.id)).seq < second.seq


async def test_the_position_counts_the_jobs_before_it(rig: Rig) -> None:
    ids = [(await rig.submit()).job.id for _ in range(4)]
    assert [(await rig.store.get(i)).position for i in ids] == [None, 0, 1, 2]
    await rig.store.cancel(ids[1])
    assert [(await rig.store.get(i)).position for i in ids] == [None, None, 0, 1]
    listed = {j.id: j.position for j in (await rig.store.list_jobs()).jobs}
    assert [listed[i] for i in ids] == [None, None, 0, 1]


async def test_before_the_first_job_has_ended_the_estimate_is_the_measure(rig: Rig) -> None:
    await rig.submit(estimate=100)
    jobs = [(await rig.submit(estimate=100)).job for _ in range(2)]
    assert [j.eta_seconds for j in jobs] == [50, 150]  # what is at work is half done, on average


async def test_the_measured_gpu_time_replaces_the_estimate(rig: Rig) -> None:
    first = (await rig.submit(estimate=100)).job
    waiting = [(await rig.submit(estimate=100)).job for _ in range(3)]
    await rig.run(first.id, seconds=20)
    assert [(await rig.store.get(j.id)).eta_seconds for j in waiting] == [None, 10, 30]


async def test_more_gpus_shorten_the_wait(rig: Rig) -> None:
    rig.with_limit(4)
    jobs = [(await rig.submit(estimate=100)).job for _ in range(9)]
    etas = [(await rig.store.get(j.id)).eta_seconds for j in jobs]
    assert etas[4:] == [12.5, 37.5, 62.5, 87.5, 112.5]


async def run_all(rig: Rig, first: str, seconds: dict[str, float]) -> list[str]:
    """Do jobs one by one, each for the seconds of its queue; the queues in the order of admission."""
    order, current = [], [first]
    while current:
        queue = (await rig.store.get(current[0])).queue
        order.append(queue)
        current = await rig.run(current[0], seconds[queue])
    return order


async def test_queues_share_the_gpu_time_and_not_the_turns(rig: Rig) -> None:
    seconds = {"short-low": 10.0, "long-high": 50.0}
    first = (await rig.submit("long-high", estimate=50)).job
    for _ in range(4):
        await rig.submit("long-high", estimate=50)
    for _ in range(20):
        await rig.submit("short-low", estimate=10)
    order = await run_all(rig, first.id, seconds)
    long_ones = [i for i, queue in enumerate(order) if queue == "long-high"]
    shorts_between = [after - before - 1 for before, after in pairwise(long_ones)]
    assert shorts_between[1:] == [5, 5, 5]


async def test_a_queue_of_twice_the_weight_gets_twice_the_time(rig: Rig) -> None:
    rig.settings = replace(rig.settings, queues={"short-low": 2.0, "long-high": 1.0})
    rig.store = rig.another()
    first = (await rig.submit("long-high")).job
    for queue in ["short-low"] * 20 + ["long-high"] * 20:
        await rig.submit(queue)
    order = await run_all(rig, first.id, {"short-low": 10.0, "long-high": 10.0})
    assert 18 <= order[:30].count("short-low") <= 20


async def test_a_wrong_estimate_is_corrected_at_the_end(rig: Rig) -> None:
    first = (await rig.submit("long-high", estimate=1)).job  # said to be short, and takes long
    for queue in ["long-high"] * 3 + ["short-low"] * 12:
        await rig.submit(queue, estimate=1 if queue == "long-high" else 10)
    order = await run_all(rig, first.id, {"short-low": 10.0, "long-high": 50.0})
    assert order[:6] == ["long-high"] + ["short-low"] * 5


async def test_an_idle_queue_saves_up_no_time(rig: Rig) -> None:
    current = (await rig.submit("short-low")).job.id
    for _ in range(20):  # the other queue is idle for 200 s of GPU time
        following = (await rig.submit("short-low")).job.id
        assert await rig.run(current, 10) == [following]
        current = following
    for queue in ["short-low"] * 6 + ["long-high"] * 6:
        await rig.submit(queue)
    order = await run_all(rig, current, {"short-low": 10.0, "long-high": 10.0})
    assert order[1:9].count("long-high") == 4  # turn by turn


async def test_an_idle_queue_saves_up_no_time_either_while_no_other_waits(rig: Rig) -> None:
    current = (await rig.submit("short-low")).job.id
    for _ in range(20):
        assert await rig.run(current, 10) == []
        current = (await rig.submit("short-low")).job.id
    for queue in ["long-high"] * 6 + ["short-low"] * 6:  # the idle queue wakes first
        await rig.submit(queue)
    order = await run_all(rig, current, {"short-low": 10.0, "long-high": 10.0})
    assert 3 <= order[1:9].count("long-high") <= 5


async def test_a_deadline_that_passed_while_waiting_fails_the_job_at_admission(rig: Rig) -> None:
    first = (await rig.submit()).job
    late = (await rig.store.submit(new_job(deadline=rfc3339(rig.now + 1_000_000)))).job
    third = (await rig.submit()).job
    lease = await rig.claim(first.id)
    await rig.advance(2)
    deliveries = await rig.store.complete(first.id, done(lease))
    assert [(d.kind, d.job_id) for d in deliveries] == [
        (EventKind.FAILED, late.id),
        (EventKind.REQUESTED, third.id),
    ]
    job = await rig.store.get(late.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.code == "deadline_exceeded"


async def test_a_lower_limit_lets_the_jobs_at_work_finish(rig: Rig) -> None:
    rig.with_limit(3)
    jobs = [(await rig.submit()).job for _ in range(5)]
    leases = [await rig.claim(j.id) for j in jobs[:3]]
    store = rig.with_limit(1)
    assert await store.complete(jobs[0].id, done(leases[0])) == ()
    assert await store.complete(jobs[1].id, done(leases[1])) == ()
    assert asked(await store.complete(jobs[2].id, done(leases[2]))) == [jobs[3].id]


async def test_a_higher_limit_admits_with_the_next_tick(rig: Rig) -> None:
    jobs = [(await rig.submit()).job for _ in range(4)]
    assert asked(await rig.with_limit(3).tick()) == [jobs[1].id, jobs[2].id]


async def test_a_queue_that_is_configured_no_more_is_served_to_its_end(rig: Rig) -> None:
    await rig.submit()
    old = (await rig.submit("long-high")).job
    rig.settings = replace(rig.settings, queues={"short-low": 1.0})
    store: JobStore = rig.with_limit(2)
    assert asked(await store.tick()) == [old.id]
    assert old.id in [j.id for j in (await store.list_jobs()).jobs]


@pytest.mark.parametrize("queue", ["short-low", "long-high"])
async def test_a_job_that_was_removed_by_hand_blocks_nobody(rig: Rig, queue: str) -> None:
    first = (await rig.submit(queue)).job
    gone, third = (await rig.submit(queue)).job, (await rig.submit(queue)).job
    await rig.redis.delete(f"job:{gone.id}")
    assert await rig.run(first.id) == [third.id]
    assert (await rig.store.get(third.id)).phase is Phase.STARTING


async def test_a_damaged_record_blocks_nobody(rig: Rig) -> None:
    first = (await rig.submit()).job
    no_queue, no_hash, last = [(await rig.submit()).job for _ in range(3)]
    await rig.redis.hdel(f"job:{no_queue.id}", "queue")
    await rig.redis.delete(f"job:{no_hash.id}")
    await rig.redis.set(f"job:{no_hash.id}", "text")
    assert await rig.run(first.id) == [last.id]
