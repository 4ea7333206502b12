"""`mochi up` while everything that it is made of is killed, stopped, cut off and delayed: no job is lost.

A seed says what is done when. It is printed, and given again it does the same:

    CHAOS_SEED=7 CHAOS_JOBS=300 make test ARGS="tests/chaos"

CHAOS_JOBS=30 makes it a matter of a minute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

import pytest

from mochi import Client
from tests.chaos.clients import PATIENT, Log, Observer, Reapers, run_client
from tests.chaos.faults import Faults
from tests.chaos.invariants import books, broken, ends
from tests.chaos.logs import ends_of, unexpected
from tests.chaos.plan import Plan, make_plan
from tests.chaos.report import table
from tests.chaos.rig import Rig, started

SEED = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(1_000_000))
JOBS = int(os.environ.get("CHAOS_JOBS") or 300)
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 0.6 * JOBS)
#: Seconds after the last fault within which the next job has to have ended, until all have.
STANDSTILL = 120.0

ENVIRON = {
    "MODEL_NAME": os.environ.get("CHAOS_MODEL") or "none",
    "MOCHI_POOL_LIMIT": "2",  # one GPU: while one job is at work, the other one's event waits for it
    "MOCHI_POOL_GRACE_SECONDS": "5",
    "MOCHI_SLICE_SECONDS": "2",
    "MOCHI_CHECKPOINT_SECONDS": "1",
}


@pytest.mark.timeout(900)
def test_every_accepted_job_ends_exactly_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(SEED, JOBS, SECONDS)
    again = f"CHAOS_SEED={SEED} CHAOS_JOBS={JOBS} CHAOS_SECONDS={SECONDS:g} pytest tests/chaos"
    with capsys.disabled():
        print(f"\n{again}\n  its logs: {tmp_path}", flush=True)  # noqa: T201  # the way back to this run
    with started(tmp_path, ENVIRON) as rig:
        faults, log, figures = Faults(rig), Log(), dict[str, float]()
        observer = Observer(rig.system.url, log)
        with _company(plan, rig, log, observer) as wait:
            faults.run(plan.faults, wait.since)
            since, early = time.monotonic(), observer.ended
            ended = wait.until(lambda: _all_ended(plan, log, observer), STANDSTILL, lambda: observer.ended)
            figures["all jobs ended after the last fault"] = time.monotonic() - since
            wait.until(lambda: books(rig).closed and len(ends(rig)) >= len(observer.jobs), 60)
            figures["books closed after the last fault"] = time.monotonic() - since
        with Client(rig.system.url, retry=PATIENT) as client:
            jobs = {job.id: job for job in client.list(limit=10_000)}
        found = broken(rig, plan, log, jobs, books(rig))
        deaths = ends_of(rig.system.lines)
        code = rig.system.stop()
    found += [f"by itself: {line}" for line in deaths.by_themselves]
    if deaths.starts - faults.kills:
        found.append(f"started again without a kill: {deaths.starts - faults.kills}")
    found += [f"{count} x {what}" for what, count in unexpected(tmp_path / "data" / "logs").items()]
    with capsys.disabled():
        print(table(plan, faults, log, jobs, deaths, figures, early), flush=True)  # noqa: T201  # what it is for
    assert not found, f"{len(found)} promises were not kept; {again}\n" + "\n".join(found[:50])
    assert ended
    assert code == 0


class _Waiting:
    """The start of a run, and waiting for what the threads see."""

    def __init__(self) -> None:
        self.since = time.monotonic()

    def until(
        self, condition: Callable[[], bool], patience: float, progress: Callable[[], int] = lambda: 0
    ) -> bool:
        """Whether it came to hold, `patience` seconds after the last progress at the latest."""
        deadline, seen = time.monotonic() + patience, progress()
        while not condition():
            if (now := progress()) != seen:  # a busy machine takes longer
                deadline, seen = time.monotonic() + patience, now
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)  # what is waited for happens in other processes
        return True


@contextmanager
def _company(plan: Plan, rig: Rig, log: Log, observer: Observer) -> Iterator[_Waiting]:
    """Clients, observer and reaper at work, until the block ends."""
    waiting, over = _Waiting(), threading.Event()
    url, reaper = rig.system.url, f"{rig.system.address('reaper')}/"
    threads = [
        threading.Thread(target=observer.run, args=(over,)),
        threading.Thread(target=Reapers(reaper).run, args=(over,)),
    ]
    for client in sorted({wish.client for wish in plan.wishes}):
        wishes = [wish for wish in plan.wishes if wish.client == client]
        threads.append(threading.Thread(target=run_client, args=(url, wishes, waiting.since, log, over)))
    for thread in threads:
        thread.start()
    try:
        yield waiting
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _all_ended(plan: Plan, log: Log, observer: Observer) -> bool:
    with log.lock:
        known, accepted = len(log.accepted) + len(log.refused), set(log.accepted.values())
    jobs = observer.jobs
    return known == len(plan.wishes) and all(i in jobs and jobs[i].ended for i in accepted)
