"""The table of a run: what was done to the system, and what became of the jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise

from mochi import Job
from tests.chaos.clients import Log
from tests.chaos.faults import Faults
from tests.chaos.invariants import counted
from tests.chaos.logs import Ends
from tests.chaos.plan import Plan

__all__ = ["Figures", "steps_twice", "table"]

#: Seconds: until every job had ended after the last fault, and until the books were closed.
Figures = Mapping[str, float]


def table(
    plan: Plan, faults: Faults, log: Log, jobs: Mapping[str, Job], ends: Ends, figures: Figures, early: int
) -> str:
    """One line a row. `early`: jobs that had ended by the last fault."""
    rows = [("seed", plan.seed), ("faults for", f"{plan.seconds:g} s"), *_faults(faults)]
    rows += [("processes started again", sum(ends.starts.values()))]
    rows += [("jobs accepted", len(log.accepted)), ("refused at the door", len(log.refused))]
    rows += [(f"  {how}", count) for how, count in sorted(counted(jobs).items())]
    rows += [("  ended before the last fault", early)]
    rows += [("requests that a patient client had to repeat", log.asked_again)]
    rows += [("attempts a job: mean, most", _attempts(jobs)), ("longest standstill", _standstill(jobs))]
    rows += [(f"  attempts {how}", count) for how, count in sorted(_ends(jobs).items())]
    rows += list(_steps(jobs))
    rows += [(name, f"{seconds:.1f} s") for name, seconds in figures.items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _faults(faults: Faults) -> Iterator[tuple[str, object]]:
    yield "faults", f"{sum(faults.hit.values())} ({sum(faults.missed.values())} more found nothing to hit)"
    for (kind, target), count in sorted(faults.hit.items()):
        yield f"  {target} {kind}", count


def _attempts(jobs: Mapping[str, Job]) -> str:
    attempts = [job.attempt for job in jobs.values()]
    return f"{sum(attempts) / max(1, len(attempts)):.2f}, {max(attempts, default=0)}"


def _ends(jobs: Mapping[str, Job]) -> Counter[str]:
    """How many attempts ended how."""
    return Counter(
        attempt["ended"] or "at work" for job in jobs.values() for attempt in job.raw.get("attempts") or []
    )


def _standstill(jobs: Mapping[str, Job]) -> str:
    moments: list[datetime] = sorted(job.finished_at for job in jobs.values() if job.finished_at)
    return f"{max(((b - a).total_seconds() for a, b in pairwise(moments)), default=0):.1f} s"


def _steps(jobs: Mapping[str, Job]) -> Iterator[tuple[str, object]]:
    done, twice = steps_twice(jobs)
    if done:
        yield "steps done", done
        yield "  of them done twice", f"{twice} ({twice / done:.1%})"


def steps_twice(jobs: Mapping[str, Job]) -> tuple[int, int]:
    """Steps that were done, and how many of them had been done before, by the attempts of each job."""
    done = needed = 0
    for job in jobs.values():
        attempts = job.raw.get("attempts") or []
        done += sum(max(0, a["last_step"] - a["first_step"]) for a in attempts)
        needed += max((a["last_step"] for a in attempts), default=0)
    return done, done - needed
