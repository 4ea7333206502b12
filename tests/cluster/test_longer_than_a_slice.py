"""A job that is longer than a delivery may be: several deliveries, several pods, the same video.

With the tiny model, so that what goes from pod to pod are real latents.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mochi import Client
from tests.cluster.history import described, overlaps, pace, pods_of, seconds, steps_twice
from tests.cluster.system import System, step_of
from tests.cluster.videos import fetched

LONGEST_SLICE = 20  # seconds
#: What the job takes without an interruption: it is fitted to what else the machine does. The model's largest
#: video takes a quick machine less.
WANTED_SECONDS = 80.0
#: That the job would fill at that pace. Where the machine is soon twice as quick, there are two still.
SLICES = 4
SHORTEST_SLICE = 3  # seconds, of which a checkpoint may take one
PATIENCE = 600.0


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("warm")
def test_a_job_longer_than_its_slices(
    client: Client, system: System, tmp_path: Path, say: Callable[[str], None]
) -> None:
    wanted = a_minute_of_work(client)
    whole = client.wait(client.submit(**wanted).id, timeout=PATIENCE)
    say(f"uninterrupted: {described(whole)}")
    (attempt,) = whole.attempts
    budget = min(LONGEST_SLICE, int(seconds(attempt) / SLICES))
    assert budget >= SHORTEST_SLICE, "this machine is too quick for slices of the largest video"
    with system.revised({"MOCHI_SLICE_SECONDS": f"{budget}"}):
        job = client.submit(**wanted)
        step_of(client, job, 1, PATIENCE)
        # Its delivery ends in the ordinary way, well before SIGTERM; the next one finds another pod.
        system.kubectl("delete", "pod", pods_of(client.get(job.id))[-1], "--wait=false")
        done = client.wait(job.id, timeout=PATIENCE)
    say(f"in slices of {budget} s: {described(done)}")
    *slices, last = done.attempts
    assert len(slices) >= 2  # SIGTERM alone would make one
    assert {attempt.ended for attempt in slices} == {"continued"}
    assert last.ended == "completed"
    assert len(pods_of(done)) >= 2
    assert overlaps([done]) == []
    assert steps_twice(done) == 0
    assert fetched(client, done, tmp_path) == fetched(client, whole, tmp_path)


def a_minute_of_work(client: Client) -> dict[str, Any]:
    """A request of about `WANTED_SECONDS` at the pace that the model has now."""
    asked: dict[str, Any] = {"prompt": "a patient circle", "seed": 7, "num_frames": 61}
    probe = client.submit(**asked, width=64, height=64, num_inference_steps=6)
    steps = WANTED_SECONDS * pace(client.wait(probe.id, timeout=PATIENCE))
    side = 64 if steps <= 200 else 128  # four times the work a step
    steps = steps if side == 64 else steps / 4
    return {**asked, "width": side, "height": side, "num_inference_steps": int(min(max(steps, 8), 200))}
