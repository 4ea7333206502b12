"""The check of the books: nothing to do in a system at work, and whatever a person did by hand is mended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jobs.job import Delivery, Phase, ResultKind, Status
from jobs.store import Audit, Lease, Mended
from tests.jobs.store.support import Rig, asked, done, failed

CREDITS = "credits:mochi-1"


async def audited(rig: Rig, limit: int = 200) -> Audit:
    """A whole round."""
    checked = 0
    mended: list[Mended] = []
    deliveries: list[Delivery] = []
    while True:
        audit = await rig.store.audit(limit)
        checked += audit.checked
        mended += audit.mended
        deliveries += audit.deliveries
        if audit.whole:
            return Audit(checked, tuple(mended), True, tuple(deliveries))


async def whats(rig: Rig) -> list[str]:
    """What a round found, and that the next one finds nothing."""
    found = [mended.what for mended in (await audited(rig)).mended]
    assert (await audited(rig)).mended == ()
    return found


async def every_kind(rig: Rig) -> list[Lease]:
    """Jobs in every place and state."""
    rig.with_limit(6)
    leases = [await rig.claimed() for _ in range(5)]
    await rig.store.record(leases[0], done(leases[0]))
    await rig.store.yield_(leases[1])
    await rig.store.record(leases[2], failed(leases[2]))
    await rig.store.complete(leases[2].job.id, failed(leases[2]))
    await rig.store.cancel(leases[3].job.id)
    refused = (await rig.submit("long-high")).job
    await rig.store.dead_letter(refused.id, refused.delivery, 422, "no")
    for _ in range(4):
        await rig.submit()
    await rig.store.cancel((await rig.submit()).job.id)
    return leases


async def test_an_empty_store(rig: Rig) -> None:
    assert await rig.store.audit() == Audit(0, (), True, ())


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_of_a_system_at_work_nothing_is_mended(rig: Rig, limit: int) -> None:
    await every_kind(rig)
    before = {key: await rig.redis.hgetall(key) for key in await rig.redis.keys("job:*")}
    assert len(before) == 11
    audit = await audited(rig, limit)
    # Each job in its index, and each that has not ended in one more place.
    assert (audit.checked, audit.mended, audit.deliveries) == (20, (), ())
    assert {key: await rig.redis.hgetall(key) for key in await rig.redis.keys("job:*")} == before


async def test_a_round_goes_on_where_anybody_stopped(rig: Rig) -> None:
    await every_kind(rig)
    other = rig.another()
    audits = [await (rig.store, other)[n % 2].audit(1) for n in range(4)]
    assert not any(audit.whole for audit in audits)
    assert await rig.redis.exists("audit:mochi-1")
    rest = await audited(rig)
    assert sum(audit.checked for audit in audits) + rest.checked == 20
    assert not await rig.redis.exists("audit:mochi-1")


@pytest.mark.parametrize("cursor", ["", "nonsense", "backlog:of-old 12", f"{CREDITS} 99999", "a b c"])
async def test_a_cursor_that_means_nothing_starts_a_round(rig: Rig, cursor: str) -> None:
    await rig.submit()
    await rig.redis.set("audit:mochi-1", cursor)
    assert (await audited(rig)).mended == ()


async def test_a_batch_is_small_among_many(rig: Rig) -> None:
    store = rig.another(replace(rig.settings, backlog_limit=10_000))
    for _ in range(15):  # no more at once than find a connection in time on a busy machine
        await asyncio.gather(*(rig.submit() for _ in range(100)))
    audit = await store.audit(100)
    assert 100 <= audit.checked < 300
    assert not audit.whole
    assert (await audited(rig)).mended == ()


async def test_a_waiting_job_that_is_in_no_backlog_waits_again_in_its_place(rig: Rig) -> None:
    await rig.claimed()
    jobs = [(await rig.submit()).job for _ in range(3)]
    await rig.redis.zrem("backlog:short-low", jobs[1].id)
    assert await whats(rig) == ["in 0 places: waits"]
    assert [(await rig.store.get(job.id)).position for job in jobs] == [0, 1, 2]


async def test_a_job_that_was_lost_with_its_credit_is_admitted_again(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.redis.zrem(CREDITS, job.id)
    audit = await audited(rig)
    assert [m.job_id for m in audit.mended] == [job.id]
    assert asked(audit.deliveries) == [job.id]
    assert await rig.places(job.id) == [CREDITS]
    assert isinstance(await rig.store.claim(job.id, "gpu-0"), Lease)


async def test_work_that_is_under_way_gets_its_credit_back(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.redis.zrem(CREDITS, lease.job.id)
    assert await whats(rig) == ["in 0 places, the wrong one: has its credit"]
    await rig.store.reap(lease.job.id)
    assert await rig.due(lease.job.id) == 60
    assert await rig.store.record(lease, done(lease)) is not None


async def test_a_result_whose_credit_was_lost_is_completed(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.record(lease, done(lease))
    await rig.redis.zrem(CREDITS, lease.job.id)
    await audited(rig)
    await rig.store.reap(lease.job.id)
    assert (await rig.store.get(lease.job.id)).status is Status.COMPLETED


async def test_a_job_at_work_is_not_in_a_backlog_too(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.redis.zadd("backlog:short-low", {lease.job.id: 1})
    assert await whats(rig) == ["in 2 places: has its credit"]
    assert await rig.places(lease.job.id) == [CREDITS]


async def test_a_credit_that_nothing_explains_goes(rig: Rig) -> None:
    lease = await rig.claimed()
    waiting = (await rig.submit()).job
    await rig.redis.zadd(CREDITS, {waiting.id: 0})
    await rig.redis.zrem("backlog:short-low", waiting.id)
    assert await whats(rig) == ["in 1 places, the wrong one: waits"]
    assert await rig.places(waiting.id) == ["backlog:short-low"]
    assert (await rig.store.stats()).credits == 1
    assert await rig.places(lease.job.id) == [CREDITS]


async def test_a_delayed_job_that_also_waits_stays_delayed(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.store.dead_letter(job.id, job.delivery, 422, "no")
    await rig.redis.zadd("backlog:short-low", {job.id: 1})
    assert await whats(rig) == ["in 2 places: is delayed"]
    assert await rig.places(job.id) == ["delayed:short-low"]


@pytest.mark.parametrize("place", [CREDITS, "backlog:short-low", "delayed:long-high"])
async def test_a_record_that_was_removed_by_hand_leaves_nothing(rig: Rig, place: str) -> None:
    job = (await rig.submit()).job
    await rig.redis.delete(f"job:{job.id}")
    await rig.redis.zadd(place, {job.id: 1})
    waiting = (await rig.submit()).job
    assert all(what.startswith("no such job") for what in await whats(rig))
    assert await rig.places(waiting.id) == [CREDITS]  # the credit that was freed is given on
    for key in await rig.redis.keys("*"):
        assert await rig.redis.type(key) != "zset" or await rig.redis.zscore(key, job.id) is None


async def test_a_credit_of_a_job_that_has_ended_is_freed(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.store.cancel(job.id)
    await rig.redis.zadd(CREDITS, {job.id: 0})
    following = (await rig.submit()).job
    assert await rig.places(following.id) == ["backlog:short-low"]
    audit = await audited(rig)
    assert [m.what for m in audit.mended] == [f"has ended, in {CREDITS}: removed"]
    assert asked(audit.deliveries) == [following.id]


async def test_what_has_ended_will_expire(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.store.cancel(job.id)
    await rig.redis.delete("ended:mochi-1", "outbox:mochi-1")
    assert await whats(rig) == ["has ended, not in ended:mochi-1: added"]
    await rig.advance(rig.settings.retention_seconds)
    assert [expired.job_id for expired in await rig.store.expire()] == [job.id]


async def test_a_job_is_found_again_under_its_status(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.redis.zrem("index:short-low:pending", job.id)
    await rig.redis.zadd("index:short-low:failed", {job.id: 1})
    found = await whats(rig)
    assert "not in index:short-low:pending: added" in found
    assert "is pending, in index:short-low:failed: removed" in found
    assert [j.id for j in (await rig.store.list_jobs(status=Status.PENDING)).jobs] == [job.id]


async def test_a_job_in_the_backlog_of_another_queue(rig: Rig) -> None:
    await rig.claimed()
    job = (await rig.submit()).job
    await rig.redis.zadd("backlog:long-high", {job.id: 1})
    assert await whats(rig) == ["in backlog:long-high, of another queue: removed"]
    assert await rig.places(job.id) == ["backlog:short-low"]


async def test_a_record_that_is_none_is_taken_out(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.redis.delete(f"job:{job.id}")
    await rig.redis.set(f"job:{job.id}", "no hash")
    assert all(what.startswith("no such job") for what in await whats(rig))


async def test_two_rounds_at_once_mend_once(rig: Rig) -> None:
    await rig.claimed()
    jobs = [(await rig.submit()).job for _ in range(5)]
    for job in jobs[::2]:
        await rig.redis.zrem("backlog:short-low", job.id)
    audits = await asyncio.gather(*(rig.store.audit() for _ in range(4)))
    assert sorted(m.job_id for a in audits for m in a.mended) == sorted(job.id for job in jobs[::2])
    assert [(await rig.store.get(job.id)).position for job in jobs] == list(range(5))


async def test_a_mended_job_lives_on_to_its_end(rig: Rig) -> None:
    await every_kind(rig)
    for key in [CREDITS, *await rig.redis.keys("backlog:*"), *await rig.redis.keys("delayed:*")]:
        await rig.redis.delete(key)
    audit = await audited(rig)
    assert len(audit.mended) == 9
    assert (await audited(rig)).mended == ()
    for _ in range(20):
        await rig.advance(700)
        for job_id in await rig.store.due():
            await rig.store.reap(job_id)
        await rig.store.tick()
        for job in (await rig.store.list_jobs()).jobs:
            if isinstance(lease := await rig.store.claim(job.id, "gpu-0"), Lease):
                await rig.store.renew(lease, Phase.DENOISING, 8)
                await rig.store.record(lease, done(lease))
                await rig.store.complete(job.id, done(lease))
    jobs = (await rig.store.list_jobs()).jobs
    assert {job.status for job in jobs} <= {Status(kind) for kind in ResultKind}
    assert (await rig.store.stats()).credits == 0


async def begun(rig: Rig) -> None:
    assert await rig.store.sweep_place(3600) is None
    await rig.advance(3600)
    assert await rig.store.sweep_place(3600) == ""


async def test_one_of_all_reapers_sweeps_and_so_often_only(rig: Rig) -> None:
    other = rig.another()
    assert await rig.store.sweep_place(3600) is None
    await rig.advance(3599)
    assert await other.sweep_place(3600) is None
    await rig.advance(1)
    answers = await asyncio.gather(*(store.sweep_place(3600) for store in (rig.store, other) * 5))
    assert [answer for answer in answers if answer is not None] == [""]
    await rig.store.swept("", None)
    assert await rig.store.sweep_place(3600) is None
    await rig.redis.hset("pool:mochi-1", "swept", rig.now + 10**12)  # of a clock that was wrong
    assert await rig.store.sweep_place(3600) == ""
    assert await rig.store.sweep_place(3600) is None


async def test_a_sweep_goes_on_from_where_it_was(rig: Rig) -> None:
    await begun(rig)
    await rig.store.swept("", "videos/a")
    assert await rig.store.sweep_place(3600) == "videos/a"
    await rig.advance(50)  # whoever had this part has died, or takes too long
    assert await rig.store.sweep_place(3600) == "videos/a"
    await rig.store.swept("videos/a", "videos/b")
    await rig.store.swept("videos/a", "videos/aa")  # too late
    await rig.store.swept("", None)
    assert await rig.store.sweep_place(3600) == "videos/b"
    await rig.store.swept("videos/b", None)
    assert await rig.store.sweep_place(3600) is None
    await rig.advance(3600)
    assert await rig.store.sweep_place(3600) == ""


async def test_a_wrong_clock_does_not_stop_a_sweep(rig: Rig) -> None:
    await begun(rig)
    await rig.redis.hset("pool:mochi-1", "sweep_until", rig.now + 10**12)
    assert await rig.store.sweep_place(3600) == ""
