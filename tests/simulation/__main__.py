"""`python -m tests.simulation`: run seeds, print one table; each violation with the command that repeats it.

--seed N         one run, with its trace
--count N        that many seeds (default 2000)
--minutes N      as many seeds as there is time for
--first-seed N   where to begin (default 0)
--mutation NAME  with --seed: without a guard; alone: look for a seed that notices it
--hunt           look for a seed for each mutation, and keep them in noticed.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import repeat

from tests.simulation.mutations import MUTATIONS, NO_MUTATION, NOTICED, Mutation, by_name
from tests.simulation.runner import Totals, hunt, one, run_for, run_seeds, workers
from tests.simulation.world import Failed

_HUNTED = 300  # seeds in whose worlds a mutation can matter


def main() -> int:
    """0: all invariants hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--mutation", choices=[mutation.name for mutation in MUTATIONS], metavar="NAME")
    parser.add_argument("--hunt", action="store_true")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, by_name(asked.mutation) if asked.mutation else NO_MUTATION)
    if asked.hunt or asked.mutation:
        return _hunt([asked.mutation] if asked.mutation else [mutation.name for mutation in MUTATIONS])
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


def _one(seed: int, mutation: Mutation) -> int:
    try:
        result = one(seed, mutation)
    except Failed as failed:
        _say(f"{failed.trace}\n\n{failed}")
        return 1
    _say(f"{result.trace}\n\nseed {seed}: all invariants hold")
    return 0


def _hunt(names: Sequence[str]) -> int:
    """0: each is noticed by a schedule that is all right with its guard."""
    known = json.loads(NOTICED.read_text("utf-8")) if NOTICED.exists() else {}
    missed = 0
    with workers() as pool:
        for name, failed, tried in pool.map(partial(hunt, without=True), names, repeat(_HUNTED)):
            missed += failed is None
            _say(f"{name}: {f'{failed} (tried {tried})' if failed else f'NOT NOTICED by {tried} schedules'}")
            if failed is not None:
                known[name] = failed.seed
                _keep(known)
    return 1 if missed else 0


def _keep(seeds: Mapping[str, int]) -> None:
    """Those of mutations that there are."""
    kept = {mutation.name: seeds[mutation.name] for mutation in MUTATIONS if mutation.name in seeds}
    NOTICED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
