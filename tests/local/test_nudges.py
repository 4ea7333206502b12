"""The reaper is asked for a round when there may be something to mend, not only each minute."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from local.nudges import Nudges
from mochi import Client
from tests.local.broker.recorder import Recorder
from tests.local.real_up import holders, mochi, until

ROOT = Path(__file__).parents[2]
LONG: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 13, "num_inference_steps": 2000}


async def test_it_asks_now_and_when_a_lease_has_run_out() -> None:
    with Recorder() as recorder:
        async with Nudges(recorder.url("/"), -0.9) as nudges:
            nudges.begin()
            nudges.begin()
            assert len(await asyncio.to_thread(recorder.wait, "/", 4)) == 4


async def test_nobody_there_is_no_error_and_an_end_does_not_wait() -> None:
    async with Nudges("http://127.0.0.1:9/", 3600.0) as nudges:
        nudges.begin()


@pytest.mark.timeout(300)
def test_a_job_goes_on_although_no_clock_asks_the_reaper(tmp_path: Path) -> None:
    """Its event is answered with nothing while its dead predictor's lease lives, and is gone then."""
    manifests = tmp_path / "knative"
    shutil.copytree(ROOT / "knative" / "base", manifests, ignore=shutil.ignore_patterns("*ping*"))
    settings = {"MOCHI_MANIFESTS": str(manifests), "MOCHI_LEASE_SECONDS": "20"}
    data = tmp_path / "data"
    with mochi(tmp_path / "first", data_dir=data, settings=settings) as up, Client(up.url) as client:
        up.ready()
        job = client.submit("a circle", **LONG)
        next(event for event in client.watch(job.id) if event.phase == "denoising")
        up.end(signal.SIGKILL)
        until(lambda: not holders(data))
    with mochi(tmp_path / "second", data_dir=data, settings=settings) as up, Client(up.url) as client:
        up.ready()
        assert client.wait(job.id, timeout=120).status == "completed"
        assert up.end() == 0
