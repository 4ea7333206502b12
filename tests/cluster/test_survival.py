"""Pods that go while they work, with and without notice, and the parts that the work relies on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inference_service.lease_keeper import RENEWALS_A_LEASE
from mochi import Client, Job
from tests.cluster.history import described, overlaps, pods_of, seconds, steps_twice
from tests.cluster.kubectl import Kubectl, condition
from tests.cluster.system import System, step_of
from tests.cluster.videos import LONG, LONG_PACE, SMALL, fetched_whole
from tests.cluster.waiting import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("paced")]

PATIENCE = 600.0
#: Steps before a fault: ten seconds' work.
BEGUN = 300
Say = Callable[[str], None]


class Survivor:
    """A long job, from its being well under way to its end."""

    def __init__(self, client: Client, system: System) -> None:
        self._client, self._system = client, system
        self._kept = self._attempt = 0  # the steps of a checkpoint before the fault, and who worked then
        settings = system.settings()
        # Each renewal has the steps done; while steps are done, more come between them.
        self._unreported = LONG_PACE * settings.lease_seconds / RENEWALS_A_LEASE
        #: Steps that may be done twice: those of a checkpoint's interval and a lease.
        self.most = LONG_PACE * (settings.checkpoint_seconds + settings.lease_seconds)
        self.job = client.submit(**LONG)

    def at_work(self, step: int = BEGUN) -> str:
        """The pod that works on it, once it has done so many steps and has a checkpoint."""
        step_of(self._client, self.job, step)
        self._kept = until("the job has a checkpoint", self._checkpoint, 60)
        job = self._client.get(self.job.id)
        self._attempt = job.attempt
        return pods_of(job)[-1]

    def _checkpoint(self) -> int:
        """The steps of its newest checkpoint that is durable, as its pods have logged; 0: it has none."""
        pods = pods_of(self._client.get(self.job.id))
        logged = [entry for pod in pods for entry in self._system.logged(pod, "checkpoint")]
        return max((int(str(entry["step"])) for entry in logged if entry["job"] == self.job.id), default=0)

    def end(self, folder: Path, say: Say) -> Job:
        """The job, completed, with the video of an uninterrupted run and little done twice."""
        # What an attempt reports, beside what the record says that it began with. 0: a phase just began.
        events = self._client.watch(self.job.id, timeout=PATIENCE)
        later = [e.step for e in events if e.attempt > self._attempt and e.phase == "denoising" and e.step]
        done = self._client.wait(self.job.id, timeout=PATIENCE)
        later += [attempt.first_step for attempt in done.attempts if attempt.attempt > self._attempt]
        unreported = self._unreported * sum(attempt.ended == "lost" for attempt in done.attempts)
        say(f"{described(done)}\n  at most {unreported:.0f} more, after the last reports of lost attempts")
        say(f"  {self.most:.0f} may be, at {LONG_PACE:.1f} steps a second; a checkpoint had {self._kept}")
        assert steps_twice(done) + unreported <= self.most
        assert min(later, default=self._kept) >= self._kept
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


def test_a_rollout_moves_a_job_and_costs_it_no_step(
    client: Client, system: System, tmp_path: Path, say: Say
) -> None:
    # Knative leaves the last pod of an old revision alone for as long as it has a request, so the job moves
    # at the end of a slice. It fills at least three and a half: the last begins long after the rollout.
    with system.revised({"MOCHI_SLICE_SECONDS": "20"}):
        survivor = Survivor(client, system)
        survivor.at_work(1)
        with system.revised({"MOCHI_LOG_LEVEL": "debug"}) as revision:
            done = survivor.end(tmp_path, say)
    *before, _ = done.attempts
    assert {attempt.ended for attempt in before} == {"continued"}
    assert len(pods_of(done)) >= 2
    assert pods_of(done)[-1].startswith(f"{revision}-")
    assert steps_twice(done) == 0


# A pod that is not told


@pytest.mark.core
def test_a_pod_that_is_killed(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    pod = survivor.at_work(int(survivor.most) + 1)  # to begin anew would be too much
    system.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
    done = survivor.end(tmp_path, say)
    assert len(pods_of(done)) >= 2


def test_a_process_that_is_killed(survivor: Survivor, system: System, tmp_path: Path, say: Say) -> None:
    pod = survivor.at_work(int(survivor.most) + 1)
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
