from __future__ import annotations

from local.pauses import GrowingPause


def test_doubles_to_its_longest() -> None:
    pause = GrowingPause(first=0.5, longest=30, well=60)
    assert [pause.after(1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_begins_anew_after_a_run_that_was_well() -> None:
    pause = GrowingPause(first=0.5, longest=30, well=60)
    assert [pause.after(lived) for lived in (0, 0, 59.9, 60, 0)] == [0.5, 1, 2, 0.5, 1]
