"""No job, no pod; and a job that finds no pod gets one, alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mochi import Client
from tests.cluster.history import cold_start, pods_of
from tests.cluster.system import System, step_of
from tests.cluster.videos import SMALL, fetched

#: Seconds until an idle predictor has no pod any more: its window, its delay, and the end of the pod.
IDLE = 400.0
#: A third of a minute's work: the autoscaler looks at it more than once.
MEDIUM: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 61, "num_inference_steps": 160}
#: Knative's autoscaler adds up what the activator reports in a second, which is once. On a node that is
#: starved a report comes late: its second has two, the average is above one request, one request a pod is
#: the target, and a second pod starts. Settings that start two do so each time.
TRIES = 3
#: What the predictor logs of an event about a job that reaches it.
TAKEN = ("claimed", "ignored", "late", "answered_again")


@pytest.mark.core
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("warm")
def test_a_job_wakes_one_pod_from_zero(
    client: Client, system: System, tmp_path: Path, say: Callable[[str], None]
) -> None:
    counts = []
    for _ in range(TRIES):
        since = time.monotonic()
        system.no_pods(IDLE)
        say(f"idle to no pod: {time.monotonic() - since:.0f} s")
        job = client.submit("a sleepy square", **MEDIUM)
        first = step_of(client, job, 1)
        (name,) = pods_of(client.get(job.id))
        pod = system.kubectl.get("pod", name)
        (ready,) = system.logged(name, "ready")
        done = client.wait(job.id, timeout=240)
        say("\n".join(["from zero:", *cold_start(done, pod, str(ready["timestamp"]), first)]))
        assert fetched(client, done, tmp_path)
        # Another pod would still be here: an idle one stays for the autoscaler's window at least.
        pods = [pod["metadata"]["name"] for pod in system.pods()]
        counts.append(len(pods))
        say(f"pods of one job in each try: {counts}")
        # Whatever the autoscaler did: the job asked once, and not a second time while the pod came up.
        events = [entry for pod in pods for kind in TAKEN for entry in system.logged(pod, kind)]
        assert [e["event"] for e in events if e["job"] == job.id] == ["claimed"]
        if pods == [name]:
            return
    raise AssertionError(f"one job started more than one pod each time: {counts}")


@pytest.mark.timeout(900)
def test_a_start_that_outlasts_the_budget_ends_in_a_video(
    client: Client, system: System, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with system.revised({"MOCHI_SLICE_SECONDS": "3"}):
        job = client.submit("a late square", **SMALL)
        done = client.wait(job.id, timeout=400)
        (pod,) = pods_of(done)
        late = system.logged(pod, "late")
        say(f"{len(late)} deliveries came too late")
        assert late, "importing torch takes longer than 3 s"
        assert fetched(client, done, tmp_path)
