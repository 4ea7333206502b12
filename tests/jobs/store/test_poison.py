"""Nothing circles forever: whatever a job does to its workers, it ends, says why, and others go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from jobs.job import Job, Phase, Status
from jobs.store import Lease
from tests.jobs.store.support import Rig, done

Worker = Callable[[Rig, Job], Awaitable[None]]


async def dies(rig: Rig, job: Job) -> None:
    """Takes the GPU's process with it."""
    lease = await rig.store.claim(job.id, f"gpu-{job.attempt}")
    assert isinstance(lease, Lease)
    await rig.store.renew(lease, Phase.DENOISING, 2)


async def dies_after_its_last_checkpoint(rig: Rig, job: Job) -> None:
    """Gets as far as before, and no further."""
    lease = await rig.store.claim(job.id, f"gpu-{job.attempt}")
    assert isinstance(lease, Lease)
    if lease.checkpoint_step < 5:
        await rig.store.checkpoint(lease, f"checkpoints/{lease.token}", 5)
    await rig.store.renew(lease, Phase.DECODING, 5)


async def makes_no_step(rig: Rig, job: Job) -> None:
    """Its slices are too short for it."""
    lease = await rig.store.claim(job.id, f"gpu-{job.attempt}")
    assert isinstance(lease, Lease)
    await rig.store.yield_(lease)


async def is_refused(rig: Rig, job: Job) -> None:
    """Nobody takes its event."""
    await rig.store.dead_letter(job.id, job.delivery, 422, f"refusal {job.delivery}")


async def dies_and_is_given_up(rig: Rig, job: Job) -> None:
    """The event outlasts the attempt."""
    await dies(rig, job)
    await rig.advance(61)
    await rig.store.dead_letter(job.id, job.delivery, 504, "no answer")


@pytest.mark.parametrize(
    ("worker", "code", "attempts", "words"),
    [
        (
            dies,
            "attempts_exhausted",
            3,
            ["attempt 1 lost", "gpu-0", "attempt 2 lost", "attempt 3 lost", "gpu-2"],
        ),
        (dies_after_its_last_checkpoint, "attempts_exhausted", 4, ["attempt 2", "attempt 4", "decoding"]),
        (makes_no_step, "attempts_exhausted", 3, ["attempt 1 ended its slice", "attempt 3"]),
        (is_refused, "undeliverable", 0, ["refused 3 times", "422: refusal"]),
        (dies_and_is_given_up, "attempts_exhausted", 3, ["attempt 1 lost", "attempt 3 lost"]),
    ],
)
async def test_a_job_that_never_works_ends_with_its_reasons(
    rig: Rig, worker: Worker, code: str, attempts: int, words: list[str]
) -> None:
    bad, good = (await rig.submit()).job, (await rig.submit()).job
    for _ in range(60):
        bad = await rig.store.get(bad.id)
        if bad.status.terminal:
            break
        if bad.phase is Phase.STARTING or (bad.status is Status.PROCESSING and not leased(bad)):
            await worker(rig, bad)
        await work_on(rig, good)
        await rig.advance(61)
        for job_id in await rig.store.due():
            await rig.store.reap(job_id)
        await rig.store.tick()
    assert bad.status is Status.FAILED
    assert bad.error is not None
    assert bad.error.code == code
    assert all(word in bad.error.message for word in words), bad.error.message
    assert bad.attempt == attempts
    assert [a.ended for a in bad.attempts if a.ended not in ("lost", "continued")] == []
    for _ in range(3):  # a pause may still hold back the other
        await rig.advance(300)
        await rig.store.tick()
        await work_on(rig, good)
    assert (await rig.store.get(good.id)).status is Status.COMPLETED
    assert (await rig.store.stats()).credits == 0


def leased(job: Job) -> bool:
    return any(not attempt.ended for attempt in job.attempts)


async def work_on(rig: Rig, job: Job) -> None:
    """If it has its turn."""
    lease = await rig.store.claim(job.id, "gpu-good")
    if isinstance(lease, Lease):
        await rig.store.record(lease, done(lease))
        await rig.store.complete(job.id, done(lease))


async def test_what_nobody_answers_waits_for_its_pool_ever_longer_and_ends_at_its_deadline(rig: Rig) -> None:
    job = (await rig.submit()).job
    events = 1
    for _ in range(24 * 60):  # a day of rounds
        await rig.advance(60)
        for job_id in await rig.store.due():
            events += len(await rig.store.reap(job_id))
        events += len(await rig.store.tick())
    assert events < 800  # some thirty an hour, and no storm
    job = await rig.store.get(job.id)
    assert job.status is Status.PENDING
    assert not job.attempts
    assert isinstance(await rig.store.claim(job.id, "gpu-0"), Lease)  # the pool works again: so does the job
