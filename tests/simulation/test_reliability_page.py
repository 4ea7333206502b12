"""The numbers that docs/reliability.md gives of the simulation are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.invariants import BY_NAME
from tests.simulation.mutations import EVERYDAY, MUTATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        (r"([\d,]+) kinds of faults", len(KINDS)),
        (r"([\d,]+) invariants are checked", len(BY_NAME)),
        (r"`make test` runs ([\d,]+) schedules", EVERYDAY),
        (r"schedules \(seeds 0 to ([\d,]+)\)", EVERYDAY - 1),
        (r"takes ([\d,]+) guards and rules out", len(MUTATIONS)),
    ],
)
def test_a_number_is_the_codes(pattern: str, number: int) -> None:
    found = re.search(pattern, PAGE)
    assert found is not None
    assert int(found[1].replace(",", "")) == number
