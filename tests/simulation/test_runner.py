"""A seed always makes the same run, and a violation says how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.mutations import by_name
from tests.simulation.runner import one
from tests.simulation.world import Failed


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A run in this process silences its logs, which the tests after these read."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("seed", [3, 7, 31])
def test_a_seed_always_makes_the_same_run(seed: int) -> None:
    assert one(seed).trace == one(seed).trace


def test_a_violation_names_its_seed_and_has_its_trace() -> None:
    with pytest.raises(Failed, match=r"^seed 0: credits_within_limit: ") as caught:
        one(0, by_name("pump: the credits have no limit"))
    assert "submit" in caught.value.trace
