"""Some of every day's schedules, in a process of their own, and whether they showed anything at all."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.faults import KINDS
from tests.simulation.invariants import BY_NAME
from tests.simulation.runner import Totals, run_seeds, workers

__all__ = ["check"]


def check(seeds: Sequence[int]) -> None:
    """Raise AssertionError, with the commands that repeat it, where an invariant does not hold."""
    totals = Totals()
    with workers(1) as pool:
        for outcome in run_seeds(pool, seeds):
            totals.add(outcome)
    commands = [f"{failed}\n  python -m tests.simulation --seed {failed.seed}" for failed in totals.failed]
    assert not commands, "\n".join(commands[:5])
    assert totals.runs == len(seeds)
    # Nothing is proven by what never happened.
    assert set(totals.faults) == set(KINDS)
    assert set(totals.checked) == set(BY_NAME)
    assert set(totals.ends) == {"completed", "failed", "cancelled"}
