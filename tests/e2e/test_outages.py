"""Redis or the object store away for 20 s, the whole system stopped at work: every job completes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mochi import Client, Retry
from tests.e2e.system import System, mochi_up

LONG: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 61, "num_inference_steps": 60}
AWAY_SECONDS = 20.0
ENVIRON = {"MOCHI_LEASE_SECONDS": "3", "MOCHI_POOL_GRACE_SECONDS": "5"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with mochi_up(tmp_path_factory.mktemp("outages")) as started:
        yield started


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    # As long as an outage lasts, the API answers 503: a patient client.
    with Client(system.url, retry=Retry(attempts=12, reconnects=60)) as connected:
        yield connected


def child(system: System, part: str) -> psutil.Process:
    """The process of the system whose command line has `part`."""
    for process in psutil.Process(system.process.pid).children(recursive=True):
        if any(part in word for word in process.cmdline()):
            return process
    raise AssertionError(f"no process has {part}")


@pytest.mark.parametrize("part", ["valkey-server", "weed"])
def test_a_job_completes_although_a_server_is_away(system: System, client: Client, part: str) -> None:
    job = client.submit("a patient circle", **LONG)
    next(event for event in client.watch(job.id) if event.phase == "denoising")
    away = child(system, part)
    away.send_signal(signal.SIGSTOP)
    timer = threading.Timer(AWAY_SECONDS, away.send_signal, [signal.SIGCONT])
    timer.start()
    try:
        timer.join()
        done = client.wait(job.id, timeout=60)
    finally:
        away.send_signal(signal.SIGCONT)
    assert done.attempt == 1


def test_jobs_and_videos_outlive_the_system(tmp_path: Path) -> None:
    with mochi_up(tmp_path, ENVIRON) as first, Client(first.url) as client:
        done = client.submit("first", **{**LONG, "num_inference_steps": 2})
        client.wait(done.id, timeout=60)
        at_work = client.submit("second", **LONG)
        waiting = client.submit("third", **{**LONG, "num_inference_steps": 2})
        next(event for event in client.watch(at_work.id) if event.phase == "denoising")
        family = psutil.Process(first.process.pid).children(recursive=True)
        assert first.stop() == 0
        assert [process for process in family if process.is_running()] == []
    with mochi_up(tmp_path, ENVIRON) as second, Client(second.url) as client:
        for job in (done, at_work, waiting):
            assert client.wait(job.id, timeout=100).status == "completed"
        client.download(done.id, tmp_path / "first.mp4")
