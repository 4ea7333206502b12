"""`python -m tests.simulation`: run seeds, print one table; each violation with the command that repeats it.

--seed N         one run, with its trace
--count N        that many seeds (default 2000)
--minutes N      as many seeds as there is time for
--first-seed N   where to begin (default 0)
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.runner import Totals, one, run_for, run_seeds, workers
from tests.simulation.world import Failed


def main() -> int:
    """0: all invariants hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed)
    began, totals = time.monotonic(), Totals()
    first = asked.first_seed
    with workers() as pool:
        found = (
            run_for(pool, asked.minutes * 60, first)
            if asked.minutes is not None
            else run_seeds(pool, range(first, first + asked.count))
        )
        for outcome in found:
            totals.add(outcome)
            if isinstance(outcome, Failed):
                _say(f"{outcome}\n  python -m tests.simulation --seed {outcome.seed}")
    _say(totals.table())
    _say(f"seeds {first} to {first + totals.runs - 1}, {time.monotonic() - began:.0f} s")
    return 1 if totals.failed else 0


def _one(seed: int) -> int:
    try:
        result = one(seed)
    except Failed as failed:
        _say(f"{failed.trace}\n\n{failed}")
        return 1
    _say(f"{result.trace}\n\nseed {seed}: all invariants hold")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
