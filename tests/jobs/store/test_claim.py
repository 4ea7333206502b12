"""Row 4: one lease at a time."""

from __future__ import annotations

import asyncio

import pytest

from jobs.connection import pool_text
from jobs.job import Artifact, EventKind, Outcome, Phase, ResultKind, Status, rfc3339
from jobs.scripts import transitions
from jobs.store import Answered, Ignored, Lease, Renewal
from tests.jobs.store.support import CLOCK, T0, Rig, done, new_job


async def test_a_claim_gives_the_lease(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(3)
    lease = await rig.claim(job.id, "gpu-7")
    assert (lease.attempt, lease.slot, lease.seconds) == (1, "gpu-7", 60)
    assert (lease.checkpoint_key, lease.checkpoint_step) == (None, 0)
    assert (lease.job.status, lease.job.phase) == (Status.PROCESSING, Phase.ENCODING_PROMPT)
    assert (lease.job.started_us, lease.job.attempt) == (T0 + 3_000_000, 1)
    assert lease.claimed_us == T0 + 3_000_000
    assert await rig.due(job.id) == 60
    assert await rig.places(job.id) == ["credits:mochi-1"]


async def test_a_second_claim_does_no_work_while_the_lease_lives(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.advance(59.999)
    assert await rig.store.claim(lease.job.id, "gpu-1") == Ignored("leased")


async def test_each_claim_tells_its_own_time(rig: Rig) -> None:
    first = await rig.claimed()
    await rig.advance(10)
    await rig.store.yield_(first)
    await rig.advance(10)
    second = await rig.claim(first.job.id)
    assert (first.claimed_us, second.claimed_us) == (T0, T0 + 20_000_000)
    assert second.job.started_us == T0


async def test_of_many_claims_at_once_one_wins(rig: Rig) -> None:
    job = (await rig.submit()).job
    claims = await asyncio.gather(*(rig.store.claim(job.id, f"gpu-{n}") for n in range(20)))
    assert sum(isinstance(claim, Lease) for claim in claims) == 1
    assert (await rig.store.get(job.id)).attempt == 1


async def test_any_delivery_may_claim(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(10)
    await rig.store.reap(job.id)  # the event that comes now is the older one
    assert isinstance(await rig.store.claim(job.id, "gpu-0"), Lease)


@pytest.mark.parametrize("job_id", ["0" * 32, "", "job with spaces"])
async def test_an_unknown_job(rig: Rig, job_id: str) -> None:
    assert await rig.store.claim(job_id, "gpu-0") == Ignored("unknown")
    assert await rig.redis.keys("job:*") == []


async def test_a_job_that_waits_has_no_credit(rig: Rig) -> None:
    await rig.submit()
    waiting = (await rig.submit()).job
    assert await rig.store.claim(waiting.id, "gpu-0") == Ignored("no_credit")


async def test_a_job_that_has_ended(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.store.cancel(job.id)
    assert await rig.store.claim(job.id, "gpu-0") == Ignored("ended")


async def test_a_recorded_result_is_answered_again_without_work(rig: Rig) -> None:
    lease = await rig.claimed()
    reply = await rig.store.record(lease, done(lease))
    assert reply is not None
    assert await rig.store.claim(lease.job.id, "gpu-1") == Answered(reply)
    await rig.advance(3600)
    assert await rig.store.claim(lease.job.id, "gpu-1") == Answered(reply)


async def test_a_lease_that_ran_out_is_taken_over_with_a_strike(rig: Rig) -> None:
    first = await rig.claimed()
    await rig.advance(60)
    second = await rig.claim(first.job.id, "gpu-1")
    assert second.attempt == 2
    assert second.token != first.token
    record = await rig.record_of(first.job)
    assert record["strikes"] == "1"
    assert "attempt 1" in record["reasons"]
    assert "gpu-0" in record["reasons"]
    assert await rig.store.renew(first, Phase.DENOISING, 1) is Renewal.LOST
    assert await rig.store.renew(second, Phase.DENOISING, 1) is Renewal.OK


async def test_a_checkpoint_that_moved_saves_from_the_strike(rig: Rig) -> None:
    first = await rig.claimed()
    assert await rig.store.checkpoint(first, "checkpoints/a", 5)
    await rig.advance(60)
    second = await rig.claim(first.job.id)
    assert (second.checkpoint_key, second.checkpoint_step, second.job.step) == ("checkpoints/a", 5, 5)
    assert "strikes" not in await rig.record_of(first.job)
    await rig.advance(60)  # this one came no further
    await rig.claim(first.job.id)
    assert (await rig.record_of(first.job))["strikes"] == "1"


async def test_a_cancelled_job_whose_lease_ran_out_is_answered_cancelled(rig: Rig) -> None:
    lease = await rig.claimed()
    await rig.store.cancel(lease.job.id)
    await rig.advance(60)
    answer = await rig.store.claim(lease.job.id, "gpu-1")
    assert isinstance(answer, Answered)
    assert answer.delivery.kind is EventKind.CANCELLED
    assert answer.delivery.outcome is not None
    assert await rig.due(lease.job.id) == 30
    assert (await rig.store.get(lease.job.id)).status is Status.PROCESSING
    await rig.store.complete(lease.job.id, answer.delivery.outcome)
    assert (await rig.store.get(lease.job.id)).status is Status.CANCELLED


async def test_a_job_past_its_deadline_is_answered_failed(rig: Rig) -> None:
    job = (await rig.store.submit(new_job(deadline=rfc3339(T0 + 5_000_000)))).job
    await rig.advance(5)
    answer = await rig.store.claim(job.id, "gpu-0")
    assert isinstance(answer, Answered)
    outcome = answer.delivery.outcome
    assert outcome is not None
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.code) == (ResultKind.FAILED, "deadline_exceeded")
    assert (await rig.store.get(job.id)).attempt == 0


async def test_the_third_strike_is_answered_failed_with_each_reason(rig: Rig) -> None:
    job = (await rig.submit()).job
    for n in range(3):
        await rig.claim(job.id, f"gpu-{n}")
        await rig.advance(60)
    answer = await rig.store.claim(job.id, "gpu-3")
    assert isinstance(answer, Answered)
    outcome = answer.delivery.outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == "attempts_exhausted"
    assert all(f"attempt {n + 1} lost its lease on gpu-{n}" in outcome.error.message for n in range(3))


async def test_a_claim_ends_the_count_of_reissues_and_the_growth_of_pauses(rig: Rig) -> None:
    job = (await rig.submit()).job
    await rig.advance(10)
    await rig.store.reap(job.id)
    assert (await rig.record_of(job))["reissues"] == "1"
    await rig.redis.hset("pool:mochi-1", "pauses_in_a_row", 3)
    await rig.claim(job.id)
    assert "reissues" not in await rig.record_of(job)
    assert await rig.redis.hget("pool:mochi-1", "pauses_in_a_row") is None


async def test_a_claim_whose_answer_was_lost_gets_the_same_lease(rig: Rig) -> None:
    job = (await rig.submit()).job
    sha = await rig.redis.script_load(transitions(CLOCK).text)
    ask = ("claim", pool_text(rig.settings), job.id, "0123456789abcdef", "gpu-0")
    answers = [await rig.redis.evalsha(sha, 0, *ask) for _ in range(2)]
    assert [answer[0] for answer in answers] == ["lease", "lease"]
    assert (await rig.store.get(job.id)).attempt == 1


async def test_an_artifact_comes_back_as_it_was_recorded(rig: Rig) -> None:
    for key, url, poster in [
        ("videos/j/1-t/video.mp4", "s3://videos/videos/j/1-t/video.mp4", "videos/j/1-t/poster.jpg"),
        ("video.mp4", "s3://videos/video.mp4", "poster.jpg"),
        ("a/b.mp4", "https://elsewhere/x", "c/d.jpg"),
        ("a/b.mp4", "s3://videos/a/b.mp4", ""),
    ]:
        lease = await rig.claimed()
        artifact = Artifact(key, url, "etag", 2**40, poster)
        outcome = Outcome(ResultKind.COMPLETED, lease.token, artifact)
        reply = await rig.store.record(lease, outcome)
        assert reply is not None
        assert reply.outcome == outcome
        await rig.store.complete(lease.job.id, outcome)
        assert (await rig.store.get(lease.job.id)).artifact == artifact
