"""Random walks through a world that goes wrong: the invariants hold after every step, and all jobs end."""

from __future__ import annotations

import pytest

from jobs.job import EventKind
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
    # Consumers saw each end, and never two different ones.
    assert world.told == {job_id: {EventKind(status)} for job_id, status in world.ends.items()}
