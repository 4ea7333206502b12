"""Rows 10 and 11: how a job ends, once and for all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.errors import JobNotFound
from jobs.job import EventKind, JobError, Outcome, Phase, ResultKind, Status
from tests.jobs.store.support import Rig, asked, done, failed


async def test_a_completion_stores_the_video_and_admits_the_next(rig: Rig) -> None:
    lease = await rig.claimed()
    second = (await rig.submit()).job
    await rig.advance(5)
    await rig.store.record(lease, done(lease))
    deliveries = await rig.store.complete(lease.job.id, done(lease))
    assert asked(deliveries) == [second.id]
    assert len(deliveries) == 1
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.phase, job.progress) == (Status.COMPLETED, None, 1.0)
    assert (job.artifact, job.error, job.finished_us) == (done(lease).artifact, None, rig.now)
    assert job.milestones[-1].status is Status.COMPLETED
    assert await rig.places(job.id) == []
    record = await rig.record_of(job)
    assert record["s3_url"].endswith("video.mp4")
    assert not {"token", "lease_until", "phase"} & record.keys()


async def test_a_failure_keeps_its_reason_and_frees_the_slot(rig: Rig) -> None:
    lease = await rig.claimed()
    second = (await rig.submit()).job
    await rig.store.record(lease, failed(lease))
    assert asked(await rig.store.complete(lease.job.id, failed(lease))) == [second.id]
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.error, job.artifact) == (Status.FAILED, failed(lease).error, None)


async def test_a_second_completion_changes_nothing(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.record(lease, done(lease))
    await rig.store.complete(lease.job.id, done(lease))
    job = await rig.store.get(lease.job.id)
    await rig.advance(5)
    assert await rig.store.complete(lease.job.id, done(lease)) == ()
    assert await rig.store.complete(lease.job.id, failed(lease)) == ()
    assert await rig.store.get(lease.job.id) == job


async def test_a_result_that_could_not_be_recorded_counts_under_its_token(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(5)
    await rig.store.complete(lease.job.id, done(lease))
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.artifact) == (Status.COMPLETED, done(lease).artifact)
    assert (await rig.record_of(job))["gpu"] == "5000000"


@pytest.mark.parametrize("token", ["", "0123456789abcdef"])
async def test_under_another_token_it_does_not(rig: Rig, token: str) -> None:
    lease = await rig.claimed()
    assert await rig.store.complete(lease.job.id, replace(done(lease), token=token)) == ()
    assert (await rig.store.get(lease.job.id)).status is Status.PROCESSING


async def test_without_a_lease_an_empty_token_is_nobodys(rig: Rig) -> None:
    job = (await rig.submit()).job
    outcome = Outcome(ResultKind.FAILED, "", error=JobError("made_up", "by a stranger"))
    assert await rig.store.complete(job.id, outcome) == ()
    assert (await rig.store.get(job.id)).status is Status.PENDING


async def test_the_recorded_result_wins_over_another_event(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.record(lease, done(lease))
    await rig.store.complete(lease.job.id, failed(lease))
    assert (await rig.store.get(lease.job.id)).status is Status.PROCESSING
    await rig.store.complete(lease.job.id, done(lease))
    assert (await rig.store.get(lease.job.id)).status is Status.COMPLETED


async def test_any_terminal_event_admits_what_can_be_admitted(rig: Rig) -> None:
    lease = await rig.claimed()
    second = (await rig.submit()).job
    rig.with_limit(2)
    stranger = replace(done(lease), token="0123456789abcdef")
    assert asked(await rig.store.complete(lease.job.id, stranger)) == [second.id]


async def test_the_completion_of_an_unknown_job(rig: Rig) -> None:
    with pytest.raises(JobNotFound):
        await rig.store.complete("0" * 32, Outcome(ResultKind.CANCELLED))
    assert await rig.redis.keys("job:*") == []


async def test_a_waiting_job_is_cancelled_at_once(rig: Rig) -> None:
    await rig.submit()
    job = (await rig.submit()).job
    ended = await rig.store.cancel(job.id)
    assert (ended.job.status, ended.job.phase, ended.job.position) == (Status.CANCELLED, None, None)
    assert ended.job.finished_us == rig.now
    (delivery,) = ended.deliveries
    assert (delivery.kind, delivery.outcome) == (EventKind.CANCELLED, Outcome(ResultKind.CANCELLED))
    assert await rig.places(job.id) == []


async def test_an_admitted_job_that_nobody_claimed_gives_its_credit_to_the_next(rig: Rig) -> None:
    first, second = (await rig.submit()).job, (await rig.submit()).job
    ended = await rig.store.cancel(first.id)
    assert [(d.kind, d.job_id) for d in ended.deliveries] == [
        (EventKind.CANCELLED, first.id),
        (EventKind.REQUESTED, second.id),
    ]


async def test_between_two_slices_a_job_is_cancelled_at_once(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.yield_(lease)
    assert (await rig.store.cancel(lease.job.id)).job.status is Status.CANCELLED


async def test_under_a_lease_only_the_flag_is_set_even_if_it_ran_out(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(100)
    ended = await rig.store.cancel(lease.job.id)
    assert (ended.job.status, ended.job.cancel_requested) == (Status.PROCESSING, True)
    again = await rig.store.cancel(lease.job.id)
    assert again.job.version == ended.job.version
    assert await rig.places(lease.job.id) == ["credits:mochi-1"]


async def test_a_result_wins_over_a_cancellation(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.record(lease, done(lease))
    ended = await rig.store.cancel(lease.job.id)
    assert (ended.job.cancel_requested, ended.deliveries) == (False, ())
    await rig.store.complete(lease.job.id, done(lease))
    assert (await rig.store.get(lease.job.id)).status is Status.COMPLETED


async def test_what_has_ended_stays_as_it_is(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.complete(lease.job.id, done(lease))
    ended = await rig.store.cancel(lease.job.id)
    assert (ended.job.status, ended.deliveries) == (Status.COMPLETED, ())


async def test_a_cancellation_whose_answer_was_lost_gives_its_event_again(rig: Rig) -> None:
    job = (await rig.submit()).job
    first = await rig.store.cancel(job.id)
    assert await rig.store.cancel(job.id) == first
    await rig.store.published(first.deliveries[0])
    assert (await rig.store.cancel(job.id)).deliveries == ()


async def test_cancelling_an_unknown_job(rig: Rig) -> None:
    with pytest.raises(JobNotFound):
        await rig.store.cancel("0" * 32)


async def test_a_worker_that_stops_for_a_cancellation_ends_the_job_cancelled(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.renew(lease, Phase.DENOISING, 2)
    await rig.store.cancel(lease.job.id)
    outcome = Outcome(ResultKind.CANCELLED, lease.token)
    await rig.store.record(lease, outcome)
    await rig.store.complete(lease.job.id, outcome)
    job = await rig.store.get(lease.job.id)
    assert (job.status, job.step) == (Status.CANCELLED, 2)
