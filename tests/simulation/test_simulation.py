"""Every day's schedules: whatever goes wrong, the invariants hold; and a seed always makes the same run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.invariants import BY_NAME
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.runner import Totals, one, run_seeds, workers

SCHEDULES = 1000


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Worker processes, each with a Valkey."""
    with workers(min(2, os.cpu_count() or 1)) as started:
        yield started


@pytest.mark.timeout(1800)
def test_the_invariants_hold(pool: ProcessPoolExecutor) -> None:
    totals = Totals()
    for outcome in run_seeds(pool, range(SCHEDULES)):
        totals.add(outcome)
    commands = [f"{failed}\n  python -m tests.simulation --seed {failed.seed}" for failed in totals.failed]
    assert not commands, "\n".join(commands[:5])
    assert totals.runs == SCHEDULES
    # Nothing is proven by what never happened.
    assert set(totals.faults) == set(KINDS)
    assert set(totals.checked) == set(BY_NAME)
    assert set(totals.ends) == {"completed", "failed", "cancelled"}


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_always_makes_the_same_run(seed: int) -> None:
    assert one(seed).trace == one(seed).trace


def test_names_of_mutations_are_unique() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_guard_that_is_not_there_cannot_be_taken_out() -> None:
    with pytest.raises(ValueError, match=r"is not in transitions\.lua"):
        _ = Mutation("none", "no such text").script
