"""The first half of every day's schedules. The second is a file of its own, for a second core."""

from __future__ import annotations

import pytest

from tests.simulation.everyday import check
from tests.simulation.mutations import EVERYDAY


@pytest.mark.timeout(900)
def test_the_invariants_hold_whatever_goes_wrong() -> None:
    check(range(EVERYDAY // 2))
