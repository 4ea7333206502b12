"""Random walks through a world that goes wrong: the invariants hold after every step, and all jobs end."""

from __future__ import annotations

import pytest

from jobs.job import EventKind, Status
from tests.jobs.store.support import Rig
from tests.jobs.store.world import World

STEPS = 200


@pytest.mark.parametrize("seed", range(6))
async def test_a_walk(rig: Rig, seed: int) -> None:
    rig.with_limit(1 + seed % 3)
    world = World(rig, seed)
    for _ in range(STEPS):
        await world.check(given_out=await world.step())
    await world.settle()
    stats = await rig.store.stats()
    assert stats.credits == 0
    assert set(stats.backlog.values()) == {0}
    for job_id in world.ends:
        job = await rig.store.get(job_id)
        ended = [(a.ended, a.ended_us or 0) for a in job.attempts]
        assert [a.attempt for a in job.attempts] == list(range(max(1, job.attempt - 31), job.attempt + 1))
        assert all(why and end <= (job.finished_us or 0) for why, end in ended)
        assert [why for why, _ in ended].count("completed") == (job.status is Status.COMPLETED)
    # Consumers saw each end, and never two different ones.
    assert world.told == {job_id: {EventKind(status)} for job_id, status in world.ends.items()}
