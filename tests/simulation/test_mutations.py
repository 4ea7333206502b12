"""Whether the simulation can fail: a guard that is taken out is noticed by one of every day's schedules.

The seed that noticed it before (`noticed.json`) is tried first, then all in whose worlds it can matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.mutations import EVERYDAY, MUTATIONS, Mutation
from tests.simulation.runner import hunt, workers


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A worker process with a Valkey."""
    with workers(1) as started:
        yield started


@pytest.mark.timeout(900)  # where the seed that is known notices nothing any more
@pytest.mark.parametrize("name", [mutation.name for mutation in MUTATIONS])
def test_each_guard_is_needed(pool: ProcessPoolExecutor, name: str) -> None:
    _, failed, tried = pool.submit(hunt, name, EVERYDAY).result()
    assert failed is not None, f"none of {tried} schedules notices"


def test_names_are_unique() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_guard_that_is_not_there_cannot_be_taken_out() -> None:
    with pytest.raises(ValueError, match=r"is not in transitions\.lua"):
        _ = Mutation("none", "no such text").script
