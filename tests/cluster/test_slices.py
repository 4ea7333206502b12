"""A job that is longer than a delivery may be: several deliveries, several pods, the same video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mochi import Client, Job
from tests.cluster.history import described, overlaps, pods_of, steps_twice
from tests.cluster.system import System
from tests.cluster.videos import LONG, fetched

SLICE_SECONDS = 20


@pytest.mark.timeout(900)
def test_a_job_longer_than_its_slices(
    client: Client,
    system: System,
    uninterrupted: tuple[Job, bytes],
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    with system.revised({"MOCHI_SLICE_SECONDS": f"{SLICE_SECONDS}"}):
        job = client.submit(**LONG)
        at_work = next(event for event in client.watch(job.id, timeout=300) if event.attempt >= 2)
        assert not at_work.status.terminal
        # Its delivery ends in the ordinary way, well before SIGTERM; the next one finds another pod.
        system.kubectl("delete", "pod", pods_of(client.get(job.id))[-1], "--wait=false")
        done = client.wait(job.id, timeout=600)
    say(described(done))
    *slices, last = done.attempts
    assert len(slices) >= 2
    assert {attempt.ended for attempt in slices} == {"continued"}
    assert last.ended == "completed"
    assert len(pods_of(done)) >= 2
    assert overlaps([done]) == []
    assert steps_twice(done) == 0
    assert fetched(client, done, tmp_path) == uninterrupted[1]
