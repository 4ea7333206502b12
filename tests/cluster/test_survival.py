"""Pods that go while they work, with and without notice, and the parts that the work relies on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mochi import Client, Job
from tests.cluster.history import described, overlaps, pods_of, seconds, steps_twice
from tests.cluster.kubectl import Kubectl, condition
from tests.cluster.system import System, step_of
from tests.cluster.videos import LONG, LONG_PACE, SMALL, fetched_whole
from tests.cluster.waiting import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("paced")]

PATIENCE = 600.0
#: Steps before a fault: ten seconds' work, of which a checkpoint was kept.
BEGUN = 300
Say = Callable[[str], None]


class Survivor:
    """A long job, from its being well under way to its end."""

    def __init__(self, client: Client, system: System) -> None:
        self._client, self._system = client, system
        self.job = client.submit(**LONG)

    def at_work(self) -> str:
        """The pod that works on it, once it has done some steps."""
        step_of(self._client, self.job, BEGUN)
        return pods_of(self._client.get(self.job.id))[-1]

    def end(self, folder: Path, say: Say) -> Job:
        """The job, completed, with the video of an uninterrupted run and little done twice."""
        done = self._client.wait(self.job.id, timeout=PATIENCE)
        settings = self._system.settings()
        most = LONG_PACE * (settings.checkpoint_seconds + settings.lease_seconds)
        say(f"{described(done)}\n  {LONG_PACE:.1f} steps a second: {most:.0f} may be")
        assert steps_twice(done) <= most
        assert overlaps([done]) == []
        fetched_whole(self._client, done, folder)
        return done


@pytest.fixture
def survivor(client: Client, system: System) -> Survivor:
    return Survivor(client, system)


# A pod that is told


def test_a_pod_that_is_deleted_hands_its_job_over(
    survivor: Survivor, system: System, tmp_path: Path, say: Say
) -> None:
    pod = survivor.at_work()
    system.kubectl("delete", "pod", pod, "--wait=false")
    done = survivor.end(tmp_path, say)
    first, *_ = done.attempts
    assert first.ended == "continued"
    assert seconds(first) < system.settings().slice_seconds  # so it was SIGTERM that ended it
    assert len(pods_of(done)) >= 2
    assert steps_twice(done) == 0


def test_a_busy_pod_that_the_autoscaler_takes_away_hands_its_job_over(
    client: Client, survivor: Survivor, system: System, tmp_path: Path, say: Say
) -> None:
    survivor.at_work()
    younger = Survivor(client, system)
    pod = younger.at_work()
    client.cancel(survivor.job.id)
    # One job and two pods: of these the autoscaler takes the one that has been ready for a shorter time.
    until("the younger pod is to go", lambda: pod not in system.living(), 120)
    done = younger.end(tmp_path, say)
    assert len(pods_of(done)) >= 2
    assert steps_twice(done) == 0


def test_a_rollout_costs_a_job_no_step(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    survivor.at_work()
    with system.revised({"MOCHI_LOG_LEVEL": "debug"}):
        done = survivor.end(tmp_path, say)
    assert steps_twice(done) == 0


# A pod that is not told


@pytest.mark.core
def test_a_pod_that_is_killed(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    pod = survivor.at_work()
    system.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
    done = survivor.end(tmp_path, say)
    assert len(pods_of(done)) >= 2


def test_a_process_that_is_killed(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    pod = survivor.at_work()
    processes = processes_of(system.kubectl.get("pod", pod)["metadata"]["uid"])
    if not processes:
        pytest.skip("the pod's processes are on another machine than the tests")
    for process in processes:
        process.kill()
    done = survivor.end(tmp_path, say)
    assert done.attempts[0].ended == "lost"


def processes_of(pod_uid: str) -> list[psutil.Process]:
    """The predictor's processes of a pod, where its node is this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            groups = Path(f"/proc/{process.pid}/cgroup").read_text("ascii")
        except OSError:
            continue  # it has ended
        words = " ".join(process.info["cmdline"] or ())
        if pod_uid in groups.replace("_", "-") and "inference_service" in words:
            found.append(process)
    return found


# What the work relies on


def test_redis_is_away_for_a_restart(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    survivor.at_work()
    system.kubectl("delete", "pod", "redis-0")

    def ready() -> int:
        return int(system.kubectl.get("statefulset", "redis")["status"].get("readyReplicas", 0))

    until("Redis is back", ready, 120)
    survivor.end(tmp_path, say)


def test_every_part_of_the_broker_is_restarted(
    survivor: Survivor, client: Client, tmp_path: Path, say: Say
) -> None:
    survivor.at_work()
    eventing = Kubectl("knative-eventing")
    others = []
    for part in ("mt-broker-ingress", "mt-broker-filter", "imc-dispatcher"):
        others.append(client.submit(f"before {part} goes", **SMALL))
        restart(eventing, part)
        others.append(client.submit(f"after {part} went", **SMALL))
    survivor.end(tmp_path, say)
    for job in others:
        done = client.wait(job.id, timeout=PATIENCE)
        say(f"{done.request.prompt}: {done.status} after {done.attempt} attempts")
        assert steps_twice(done) == 0


def restart(eventing: Kubectl, deployment: str) -> None:
    """End a Deployment's pods, and wait until it has new ones."""
    labels = eventing.get("deployment", deployment)["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    old = {pod["metadata"]["uid"] for pod in eventing.list("pod", selector)}
    eventing("delete", "pod", "-l", selector, "--wait=false")

    def new() -> bool:
        pods = eventing.list("pod", selector)
        return any(pod["metadata"]["uid"] not in old and condition(pod) == "True" for pod in pods)

    until(f"{deployment} is back", new, 120)
