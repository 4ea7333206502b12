"""The benchmark of a long backlog, with a short one."""

from __future__ import annotations

from bench import backlog

NAMES = ["submit", "queue position", "list page", "a batch of the books", "admit"]


def test_it_measures_at_both_sizes_and_compares() -> None:
    rows = list(backlog.measure(backlog.SMALL + 50, calls=3))
    assert [row.what for row in rows] == [
        "a pending job beside 1,000",
        "a pending job beside 1,050",
        *(
            what
            for name in NAMES
            for what in (
                f"{name} beside 1,000 pending jobs",
                f"{name} beside 1,050 pending jobs",
                f"{name}, 1,050 to 1,000",
            )
        ),
    ]
    assert [row.measure for row in rows] == ["memory", "memory", *["p50", "p50", "ratio"] * 5]
    for row in rows[:2]:
        assert 300 < int(row.value.split()[0]) < 1200  # which depends on no load: the aim


def test_of_no_more_than_the_small_size_there_is_nothing_to_compare() -> None:
    rows = list(backlog.measure(40, calls=2))
    assert [row.what for row in rows[1:]] == [f"{name} beside 40 pending jobs" for name in NAMES]
