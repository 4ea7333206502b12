"""The history of a job: who worked on it, from which step to which, and why each attempt ended."""

from __future__ import annotations

import asyncio

import pytest

from jobs.job import Attempt, Outcome, Phase, ResultKind, Status, rfc3339
from jobs.store import Lease
from tests.jobs.store.support import SPEC, T0, Rig, done, failed, new_job

SECOND = 1_000_000


async def attempts(rig: Rig, lease: Lease) -> tuple[Attempt, ...]:
    return (await rig.store.get(lease.job.id)).attempts


async def test_a_job_that_nobody_worked_on_has_none(rig: Rig) -> None:
    assert (await rig.submit()).job.attempts == ()


async def test_the_attempt_at_work_is_shown_as_it_is(rig: Rig) -> None:
    lease = await rig.claimed()
    assert lease.job.attempts == (Attempt(1, "gpu-0", T0, None, 0, 0, ""),)
    await rig.store.renew(lease, Phase.DENOISING, 3)
    await rig.advance(5)
    assert await attempts(rig, lease) == (Attempt(1, "gpu-0", T0, None, 0, 3, ""),)


async def test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before(rig: Rig) -> None:
    first = await rig.claimed()
    await rig.store.renew(first, Phase.DENOISING, 3)
    await rig.store.checkpoint(first, "checkpoints/a", 3)
    await rig.store.renew(first, Phase.DENOISING, 4)
    await rig.advance(7)
    await rig.store.yield_(first)
    await rig.advance(2)
    second = await rig.claim(first.job.id, "gpu-1")
    await rig.store.renew(second, Phase.DENOISING, 7)  # the last step it had time to report
    await rig.advance(5)
    await rig.store.record(second, done(second))
    await rig.advance(1)
    await rig.store.complete(first.job.id, done(second))
    job = await rig.store.get(first.job.id)
    assert job.attempts == (
        Attempt(1, "gpu-0", T0, T0 + 7 * SECOND, 0, 4, "continued"),
        Attempt(2, "gpu-1", T0 + 9 * SECOND, T0 + 14 * SECOND, 3, SPEC.num_inference_steps, "completed"),
    )
    assert [a["ended"] for a in job.public()["attempts"]] == ["continued", "completed"]


async def test_a_lost_attempt_ends_with_its_lease(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.renew(lease, Phase.DENOISING, 2)
    await rig.advance(1000)
    await rig.store.reap(lease.job.id)
    assert await attempts(rig, lease) == (Attempt(1, "gpu-0", T0, T0 + 60 * SECOND, 0, 2, "lost"),)


async def test_a_lease_that_is_taken_over_was_lost(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(61)
    second = await rig.claim(lease.job.id, "gpu-1")
    assert [(a.slot, a.ended) for a in second.job.attempts] == [("gpu-0", "lost"), ("gpu-1", "")]


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_failed_attempt(rig: Rig, recorded: bool) -> None:
    lease = await rig.claimed()
    await rig.advance(3)
    if recorded:
        await rig.store.record(lease, failed(lease))
        await rig.advance(3)
    await rig.store.complete(lease.job.id, failed(lease))
    assert await attempts(rig, lease) == (Attempt(1, "gpu-0", T0, T0 + 3 * SECOND, 0, 0, "failed"),)


async def test_an_attempt_that_was_cancelled(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.cancel(lease.job.id)
    await rig.store.record(lease, Outcome(ResultKind.CANCELLED, lease.token))
    assert [a.ended for a in await attempts(rig, lease)] == ["cancelled"]


@pytest.mark.parametrize(("deadline", "ended"), [(False, "cancelled"), (True, "failed")])
async def test_a_slice_at_whose_end_the_job_ends(rig: Rig, deadline: bool, ended: str) -> None:
    new = new_job(deadline=rfc3339(T0 + SECOND) if deadline else None)
    lease = await rig.claim((await rig.store.submit(new)).job.id)
    if not deadline:
        await rig.store.cancel(lease.job.id)
    await rig.advance(1)
    await rig.store.yield_(lease)
    assert [a.ended for a in await attempts(rig, lease)] == [ended]


async def test_a_cancelled_job_that_nobody_works_on_gains_no_attempt(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.yield_(lease)
    job = (await rig.store.cancel(lease.job.id)).job
    assert job.status is Status.CANCELLED
    assert [a.ended for a in job.attempts] == ["continued"]


async def test_what_is_said_twice_is_noted_once(rig: Rig) -> None:
    lease = await rig.claimed()
    await asyncio.gather(*(rig.store.yield_(lease) for _ in range(5)))
    assert len(await attempts(rig, lease)) == 1
    lease = await rig.claim(lease.job.id)
    await asyncio.gather(*(rig.store.record(lease, done(lease)) for _ in range(5)))
    await asyncio.gather(*(rig.store.complete(lease.job.id, done(lease)) for _ in range(5)))
    assert [a.ended for a in await attempts(rig, lease)] == ["continued", "completed"]


async def test_the_newest_32_are_kept(rig: Rig) -> None:
    lease = await rig.claimed()
    for step in range(1, 41):
        await rig.store.checkpoint(lease, f"checkpoints/{step}", step)
        await rig.store.yield_(lease)
        lease = await rig.claim(lease.job.id)
    kept = await attempts(rig, lease)
    assert [a.attempt for a in kept] == list(range(10, 42))
    assert [a.ended for a in kept] == ["continued"] * 31 + [""]


async def test_any_name_of_a_slot_makes_one_word(rig: Rig) -> None:
    job = (await rig.submit()).job
    lease = await rig.claim(job.id, "host:7 GPU\t1 " + "x" * 500)
    await rig.store.yield_(lease)
    (attempt,) = await attempts(rig, lease)
    assert attempt.slot == "host:7_GPU_1_" + "x" * 67


async def test_a_damaged_history_stops_nothing(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.redis.hset(f"job:{lease.job.id}", "attempts", "x 1:2 a:b:c:d:e:f:g ::::::")
    await rig.store.yield_(lease)
    assert [a.ended for a in await attempts(rig, lease)] == ["continued"]
