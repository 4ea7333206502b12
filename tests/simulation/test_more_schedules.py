"""The second half of every day's schedules."""

from __future__ import annotations

import pytest

from tests.simulation.everyday import check
from tests.simulation.mutations import EVERYDAY


@pytest.mark.timeout(900)
def test_the_invariants_hold_whatever_goes_wrong() -> None:
    check(range(EVERYDAY // 2, EVERYDAY))
