"""Runs many seeds in processes of their own, each with its own Valkey, and adds up what they found."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from tests.simulation.invariants import BY_NAME
from tests.simulation.link import Link, valkey_socket
from tests.simulation.mutations import NO_MUTATION, Mutation, by_name
from tests.simulation.world import Failed, Result, run

__all__ = ["Totals", "hunt", "link", "one", "quiet_logs", "run_for", "run_seeds", "workers"]

_BATCH = 20
_link: Link | None = None  # of a worker process


def quiet_logs() -> None:
    """What the code under test logs is no part of the trace."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )


@contextmanager
def workers(number: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Processes that can run seeds; as many as there are cores where no number is given."""
    number = number or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        paths = context.SimpleQueue()
        for _ in range(number):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="sim-")))
            paths.put(str(stack.enter_context(valkey_socket(folder))))
        pool = ProcessPoolExecutor(number, context, _start, (paths,))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            paths.close()


def _start(paths: Any) -> None:  # noqa: ANN401  # a queue, whose type is multiprocessing's own
    global _link  # a worker process has one
    quiet_logs()
    gc.collect()
    gc.freeze()  # what is imported stays; a run leaves little
    gc.set_threshold(20_000, 20, 100)
    _link = Link(Path(paths.get()))


def link() -> Link:
    """This worker's."""
    if _link is None:
        raise AssertionError("only in a worker process")
    return _link


def _batch(seeds: Sequence[int]) -> list[Result | Failed]:
    return [_outcome(seed) for seed in seeds]


def _outcome(seed: int, mutation: Mutation = NO_MUTATION) -> Result | Failed:
    try:
        return run(seed, link(), mutation.script, mutation.rules)
    except Failed as failed:
        return failed


def hunt(name: str, seeds: int, *, without: bool = False) -> tuple[str, Failed | None, int]:
    """In a worker: the first violation that a mutation leads to within so many seeds, and how many it took.

    `without`: the first of which the schedule as it is, too, is run and holds.
    """
    mutation, tried = by_name(name), 0
    for seed in mutation.seeds(seeds):
        tried += 1
        found = _outcome(seed, mutation)
        if isinstance(found, Failed) and not (without and isinstance(_outcome(seed), Failed)):
            return name, found, tried
    return name, None, tried


def run_seeds(pool: ProcessPoolExecutor, seeds: Sequence[int]) -> Iterator[Result | Failed]:
    """Every seed, in no particular order."""
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    for found in pool.map(_batch, batches):
        yield from found


def run_for(pool: ProcessPoolExecutor, seconds: float, first: int) -> Iterator[Result | Failed]:
    """As many seeds from the first on as there is time for."""
    until, seeds = time.monotonic() + seconds, count(first)
    while time.monotonic() < until:
        yield from run_seeds(pool, list(islice(seeds, 100)))


def one(seed: int, mutation: Mutation = NO_MUTATION) -> Result:
    """One seed in this process. Raises Failed, with the trace."""
    quiet_logs()
    with TemporaryDirectory(prefix="sim-") as folder, valkey_socket(Path(folder)) as path:
        connection = Link(path)
        try:
            return run(seed, connection, mutation.script, mutation.rules, trace_too=True)
        finally:
            connection.close()


@dataclass
class Totals:
    """What many runs add up to."""

    runs: int = 0
    jobs: int = 0
    transitions: int = 0
    events: int = 0
    steps: int = 0
    simulated_seconds: float = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)

    def add(self, found: Result | Failed) -> None:
        """One more."""
        self.runs += 1
        if isinstance(found, Failed):
            self.failed.append(found)
            return
        self.jobs += found.jobs
        self.transitions += found.transitions
        self.events += found.events
        self.steps += found.steps
        self.simulated_seconds += found.seconds
        self.ends += found.ends
        self.faults += found.faults
        self.checked += found.checked

    def table(self) -> str:
        """One table: what ran, what went wrong, what was checked."""
        rows = [
            ("schedules", self.runs),
            ("violations", len(self.failed)),
            ("jobs", self.jobs),
            *((f"  {end}", n) for end, n in sorted(self.ends.items())),
            ("transitions", self.transitions),
            ("events", self.events),
            ("GPU steps", self.steps),
            ("simulated hours", round(self.simulated_seconds / 3600)),
            ("faults", self.faults.total()),
            *((f"  {kind}", n) for kind, n in sorted(self.faults.items())),
            ("checks", self.checked.total()),
            *((f"  {name}", self.checked[name]) for name in BY_NAME),
        ]
        return "\n".join(f"{name:<56}{number:>12,}" for name, number in rows)
