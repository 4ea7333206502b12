"""Rows 5 to 9: what the holder of a lease may do, and nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from jobs.job import EventKind, Outcome, Phase, ResultKind, Status, rfc3339
from jobs.store import Ignored, Lease, Renewal
from tests.jobs.store.support import T0, Rig, done, failed, new_job


async def test_a_heartbeat_prolongs_the_lease(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(50)
    assert await rig.store.renew(lease, Phase.ENCODING_PROMPT, 0) is Renewal.OK
    assert await rig.due(lease.job.id) == 60


async def test_a_lease_that_ran_out_can_be_renewed_while_nobody_took_it(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(600)
    assert await rig.store.renew(lease, Phase.DENOISING, 1) is Renewal.OK
    assert await rig.store.claim(lease.job.id, "gpu-1") == Ignored("leased")


async def test_phase_and_step_are_seen(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.renew(lease, Phase.DENOISING, 0)
    before = await rig.store.get(lease.job.id)
    await rig.store.renew(lease, Phase.DENOISING, 3)
    after = await rig.store.get(lease.job.id)
    assert (after.phase, after.step, after.progress) == (Phase.DENOISING, 3, 3 / 8)
    assert after.version > before.version
    assert after.milestones == before.milestones  # progress within a phase is none
    assert [m.phase for m in after.milestones][-2:] == [Phase.ENCODING_PROMPT, Phase.DENOISING]


async def test_a_heartbeat_without_news_is_no_change(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.renew(lease, Phase.DENOISING, 3)
    version = (await rig.store.get(lease.job.id)).version
    await rig.advance(10)
    await rig.store.renew(lease, Phase.DENOISING, 3)
    assert (await rig.store.get(lease.job.id)).version == version


async def test_the_newest_64_milestones_are_kept(rig: Rig) -> None:
    lease = await rig.claimed()
    for n in range(100):
        await rig.advance(1)
        await rig.store.renew(lease, (Phase.DENOISING, Phase.DECODING)[n % 2], 0)
    milestones = (await rig.store.get(lease.job.id)).milestones
    assert len(milestones) == 64
    assert milestones[-1].at_us == rig.now
    assert [m.version for m in milestones] == sorted({m.version for m in milestones})


async def test_a_cancellation_reaches_the_holder(rig: Rig) -> None:
    lease = await rig.claimed()
    ended = await rig.store.cancel(lease.job.id)
    assert (ended.job.status, ended.job.cancel_requested) == (Status.PROCESSING, True)
    assert ended.deliveries == ()
    assert await rig.store.renew(lease, Phase.DENOISING, 1) is Renewal.CANCEL
    reply = await rig.store.record(lease, Outcome(ResultKind.CANCELLED, lease.token))
    assert reply is not None
    assert reply.kind is EventKind.CANCELLED


async def test_a_deadline_reaches_the_holder(rig: Rig) -> None:
    job = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 20_000_000)))).job
    lease = await rig.claim(job.id)
    assert await rig.store.renew(lease, Phase.DENOISING, 1) is Renewal.OK
    await rig.advance(20)
    assert await rig.store.renew(lease, Phase.DENOISING, 2) is Renewal.DEADLINE


async def stolen(rig: Rig) -> Lease:
    lease = await rig.claimed()
    await rig.advance(60)
    await rig.claim(lease.job.id, "thief")
    return lease


async def recorded(rig: Rig) -> Lease:
    lease = await rig.claimed()
    await rig.store.record(lease, failed(lease))
    return lease


async def requeued(rig: Rig) -> Lease:
    rig.with_limit(1)
    lease = await rig.claimed()
    await rig.advance(60)
    await rig.store.reap(lease.job.id)
    return lease


async def ended(rig: Rig) -> Lease:
    lease = await recorded(rig)
    await rig.store.complete(lease.job.id, failed(lease))
    return lease


async def expired(rig: Rig) -> Lease:
    lease = await ended(rig)
    await rig.advance(8 * 86400)
    await rig.store.expire()
    return lease


LOSSES = [stolen, recorded, requeued, ended, expired]


@pytest.mark.parametrize("lose", LOSSES)
async def test_the_fence(rig: Rig, lose: Callable[[Rig], Awaitable[Lease]]) -> None:
    lease = await lose(rig)
    before = await rig.record_of(lease.job)
    other = replace(lease, token="0123456789abcdef") if lose is recorded else lease
    assert await rig.store.renew(lease, Phase.DECODING, 7) is Renewal.LOST
    assert not await rig.store.checkpoint(lease, "checkpoints/stale", 7)
    assert not await rig.store.unkept(lease, 7)
    assert await rig.store.yield_(lease) is None
    assert await rig.store.record(other, done(other)) is None
    assert await rig.record_of(lease.job) == before


async def test_a_checkpoint_clears_strikes(rig: Rig) -> None:
    first = await rig.claimed()
    await rig.advance(60)
    lease = await rig.claim(first.job.id)
    assert (await rig.record_of(first.job))["strikes"] == "1"
    assert await rig.store.checkpoint(lease, "checkpoints/a", 0)  # no step forward
    assert (await rig.record_of(first.job))["strikes"] == "1"
    assert await rig.store.checkpoint(lease, "checkpoints/b", 4)
    record = await rig.record_of(first.job)
    assert "strikes" not in record
    assert "reasons" not in record
    assert (record["checkpoint"], record["checkpoint_step"]) == ("checkpoints/b", "4")


async def test_a_checkpoint_is_not_pointed_away_from_by_one_of_fewer_steps(rig: Rig) -> None:
    first = await rig.claimed()
    await rig.store.checkpoint(first, "checkpoints/high", 5)
    await rig.advance(60)
    lease = await rig.claim(first.job.id)
    assert await rig.store.checkpoint(lease, "checkpoints/low", 3)
    assert await rig.store.checkpoint(lease, "checkpoints/low", 3, "checkpoints/another")
    record = await rig.record_of(lease.job)
    assert (record["checkpoint"], record["checkpoint_step"]) == ("checkpoints/high", "5")
    assert await rig.store.checkpoint(lease, "checkpoints/low", 3, "checkpoints/high")
    assert (await rig.record_of(lease.job))["checkpoint"] == "checkpoints/low"


async def loses(rig: Rig, lease: Lease) -> None:
    await rig.advance(60)
    await rig.store.reap(lease.job.id)
    await rig.store.tick()


async def yields(rig: Rig, lease: Lease) -> None:
    await rig.store.yield_(lease)


@pytest.mark.parametrize("ends", [loses, yields])
async def test_an_outage_of_the_object_store_is_no_strike_and_no_excuse_for_ever(
    rig: Rig, ends: Callable[[Rig, Lease], Awaitable[None]]
) -> None:
    job = (await rig.submit()).job
    for _ in range(6):
        lease = await rig.claim(job.id)
        assert await rig.store.unkept(lease, 2)
        await ends(rig, lease)
        assert "strikes" not in await rig.record_of(job)
    for _ in range(3):
        lease = await rig.claim(job.id)
        assert await rig.store.unkept(lease, 2)
        await ends(rig, lease)
    record = await rig.record_of(job)
    assert "attempts_exhausted" in (record["error_code"], record.get("result"))


async def test_an_excuse_is_of_one_attempt_and_progress_grants_new_ones(rig: Rig) -> None:
    job = (await rig.submit()).job
    for step in range(1, 8):
        lease = await rig.claim(job.id)
        await rig.store.unkept(lease, step)
        await rig.store.yield_(lease)
        lease = await rig.claim(job.id)
        await rig.store.checkpoint(lease, f"checkpoints/{step}", step)
        await rig.store.yield_(lease)
    assert "strikes" not in await rig.record_of(job)
    await rig.store.yield_(await rig.claim(job.id))
    assert (await rig.record_of(job))["strikes"] == "1"


async def test_a_yield_keeps_the_credit_and_asks_for_the_next_slice(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.renew(lease, Phase.DENOISING, 4)
    await rig.store.checkpoint(lease, "checkpoints/a", 4)
    await rig.advance(240)
    delivery = await rig.store.yield_(lease)
    assert delivery is not None
    assert (delivery.kind, delivery.delivery, delivery.attempt) == (EventKind.CONTINUED, rig.now, 1)
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.phase, job.delivery) == (Status.PROCESSING, Phase.DENOISING, rig.now)
    assert await rig.places(job.id) == ["credits:mochi-1"]
    assert await rig.due(job.id) == 600
    assert await rig.store.renew(lease, Phase.DENOISING, 5) is Renewal.LOST
    following = await rig.claim(job.id)
    assert (following.attempt, following.checkpoint_key, following.checkpoint_step) == (2, "checkpoints/a", 4)


async def test_a_yield_whose_answer_was_lost_is_answered_again(rig: Rig) -> None:
    lease = await rig.claimed()
    delivery = await rig.store.yield_(lease)
    assert delivery is not None
    assert await rig.store.yield_(lease) == delivery
    await rig.claim(lease.job.id)
    assert await rig.store.yield_(lease) is None


async def test_the_third_slice_without_progress_fails_with_the_reasons(rig: Rig) -> None:
    job = (await rig.submit()).job
    for _ in range(2):
        delivery = await rig.store.yield_(await rig.claim(job.id))
        assert delivery is not None
        assert delivery.kind is EventKind.CONTINUED
    delivery = await rig.store.yield_(lease := await rig.claim(job.id))
    assert delivery is not None
    assert delivery.outcome is not None
    assert delivery.outcome.token == lease.token
    assert delivery.outcome.error is not None
    assert delivery.outcome.error.code == "attempts_exhausted"
    assert "attempt 1" in delivery.outcome.error.message
    assert "attempt 3" in delivery.outcome.error.message
    assert await rig.due(job.id) == 30
    await rig.store.complete(job.id, delivery.outcome)
    assert (await rig.store.get(job.id)).error == delivery.outcome.error


async def test_slices_with_progress_go_on_for_ever(rig: Rig) -> None:
    job = (await rig.submit()).job
    for n in range(1, 8):
        lease = await rig.claim(job.id)
        await rig.store.checkpoint(lease, f"checkpoints/{n}", n)
        delivery = await rig.store.yield_(lease)
        assert delivery is not None
        assert delivery.kind is EventKind.CONTINUED


async def test_a_yield_of_a_cancelled_job_ends_it(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.cancel(lease.job.id)
    delivery = await rig.store.yield_(lease)
    assert delivery is not None
    assert delivery.outcome == Outcome(ResultKind.CANCELLED, lease.token)


async def test_a_yield_past_the_deadline_fails_the_job(rig: Rig) -> None:
    job = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 20_000_000)))).job
    lease = await rig.claim(job.id)
    await rig.advance(20)
    delivery = await rig.store.yield_(lease)
    assert delivery is not None
    assert delivery.kind is EventKind.FAILED


async def test_an_event_that_came_too_late_buys_a_fresh_clock(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(200)
    delivery = await rig.store.late(job.id, job.delivery)
    assert delivery is not None
    assert (delivery.kind, delivery.delivery) == (EventKind.CONTINUED, rig.now)
    assert await rig.due(job.id) == 1200  # a reissue: the grace doubles
    assert await rig.store.late(job.id, job.delivery) is None  # an older one is answered 204
    assert (await rig.record_of(job))["since"] == str(job.delivery)


async def test_too_late_says_nothing_about_a_job_at_work_or_done(rig: Rig) -> None:
    lease = await rig.claimed()
    assert await rig.store.late(lease.job.id, lease.job.delivery) is None
    reply = await rig.store.record(lease, done(lease))
    assert reply is not None
    await rig.store.complete(lease.job.id, done(lease))
    assert await rig.store.late(lease.job.id, reply.delivery) is None
    assert await rig.store.late("0" * 32, 1) is None


async def test_what_is_late_for_a_recorded_result_is_answered_with_it(rig: Rig) -> None:
    lease = await rig.claimed()
    result = await rig.store.record(lease, done(lease))
    before = await rig.record_of(lease.job)
    for delivery in (lease.job.delivery, lease.job.delivery + 1, 1):
        assert await rig.store.late(lease.job.id, delivery) == result
    assert await rig.record_of(lease.job) == before
    await rig.store.complete(lease.job.id, done(lease))
    assert await rig.store.late(lease.job.id, lease.job.delivery) is None


@pytest.mark.parametrize("outcome_of", [done, failed])
async def test_a_result_is_recorded_then_replied(rig: Rig, outcome_of: Callable[[Lease], Outcome]) -> None:
    lease = await rig.claimed()
    await rig.advance(5)
    reply = await rig.store.record(lease, outcome_of(lease))
    assert reply is not None
    assert reply.outcome == outcome_of(lease)
    assert (reply.kind, reply.delivery, reply.attempt) == (EventKind(outcome_of(lease).kind), rig.now, 1)
    assert await rig.due(lease.job.id) == 30
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.artifact, job.error) == (Status.PROCESSING, None, None)
    assert await rig.store.record(lease, outcome_of(lease)) == reply  # the answer was lost on the way


async def test_the_first_result_stays(rig: Rig) -> None:
    lease = await rig.claimed()
    reply = await rig.store.record(lease, done(lease))
    assert await rig.store.record(lease, failed(lease)) == reply


async def test_the_gpu_time_is_the_sum_over_the_leases(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(30)
    await rig.store.checkpoint(lease, "checkpoints/a", 1)
    await rig.store.yield_(lease)
    await rig.advance(100)  # nobody works
    lease = await rig.claim(lease.job.id)
    await rig.advance(500)  # it died: its lease ends the count
    lease = await rig.claim(lease.job.id)
    await rig.advance(5)
    await rig.store.record(lease, done(lease))
    await rig.advance(7)  # the completion takes its time
    await rig.store.complete(lease.job.id, done(lease))
    assert (await rig.record_of(lease.job))["gpu"] == str((30 + 60 + 5) * 1_000_000)
    assert float(await rig.redis.hget("pool:mochi-1", "time:short-low") or 0) == 95_000_000
