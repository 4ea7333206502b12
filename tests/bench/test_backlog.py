"""The benchmark of a long backlog, with a short one."""

from __future__ import annotations

from bench import backlog


def test_it_measures_at_both_sizes_and_compares() -> None:
    rows = list(backlog.measure(backlog.SMALL + 50, calls=3))
    names = ["a pending job", "submit", "queue position", "list page", "a batch of the books", "admit"]
    for jobs in ("1,000", "1,050"):
        assert [f"{name} beside {jobs} pending jobs" for name in names] == [
            row.what for row in rows if row.what.endswith(f"beside {jobs} pending jobs")
        ]
    assert [row.measure for row in rows] == [*(["memory"] + ["p50"] * 5) * 2, *["ratio"] * 5]
    taken = next(row for row in rows if row.measure == "memory")
    assert 300 < int(taken.value.split()[0]) < 1200  # of a kind that depends on no load: the aim


def test_of_no_more_than_the_small_size_there_is_nothing_to_compare() -> None:
    rows = list(backlog.measure(40, calls=2))
    assert {row.measure for row in rows} == {"memory", "p50"}
