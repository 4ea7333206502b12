"""Whether the simulation can fail: a guard that is taken out is noticed by one of its first schedules."""

from __future__ import annotations

import os
from itertools import repeat

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import hunt, workers

HUNTED = 300  # seeds whose faults a mutation needs, within which it is noticed


@pytest.mark.timeout(1800)
def test_each_guard_is_needed() -> None:
    with workers(min(2, os.cpu_count() or 1)) as pool:
        found = list(pool.map(hunt, range(len(MUTATIONS)), repeat(HUNTED)))
    missed = [mutation.name for mutation, failed in zip(MUTATIONS, found, strict=True) if failed is None]
    assert not missed, f"no schedule of {HUNTED} notices: {missed}"
