"""What counts as ready, and what a person is told of what is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.setup.commands import SetupError
from tests.cluster.setup.readiness import unready, wait
from tests.setup.conftest import Described

KSERVE, SERVING = "serving.kserve.io/v1beta1", "serving.knative.dev/v1"


def resource(api: str, kind: str, name: str, **more: object) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "video", "generation": 2}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def status(kind: str, value: str, seen: int = 2, **more: str) -> dict[str, Any]:
    return {"observedGeneration": seen, "conditions": [{"type": kind, "status": value, **more}]}


PREDICTOR = resource(KSERVE, "InferenceService", "mochi-1")
SUBMIT = resource(SERVING, "Service", "submit")
REDIS = resource("apps/v1", "StatefulSet", "redis")
BUCKET = resource("batch/v1", "Job", "bucket")
#: Nothing is asked of these.
PLAIN = [resource("v1", "Service", "redis"), resource("v1", "ConfigMap", "app-config")]
REPLICAS = {"observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 1}


def test_all_is_ready_when_each_says_so_of_its_newest_state(cluster: Described) -> None:
    cluster.holds("inferenceservices.serving.kserve.io", PREDICTOR | {"status": status("Ready", "True")})
    cluster.holds("services.serving.knative.dev", SUBMIT | {"status": status("Ready", "True")})
    cluster.holds("statefulsets", REDIS | {"spec": {"replicas": 1}, "status": REPLICAS})
    cluster.holds("jobs", BUCKET | {"status": status("Complete", "True")})
    assert unready([PREDICTOR, SUBMIT, REDIS, BUCKET, *PLAIN]) == []


@pytest.mark.usefixtures("cluster")
def test_a_job_that_is_gone_has_done_its_work_and_all_else_must_be_there() -> None:
    assert unready([BUCKET]) == []
    assert unready([SUBMIT]) == [("service/submit", "is not there")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (status("Ready", "False", reason="RevisionMissing", message="no image"), "RevisionMissing: no image"),
        (status("Ready", "Unknown"), "does not say Ready"),
        (status("Ready", "True", seen=1), "its controller has not seen the change yet"),
        ({}, "does not say Ready"),
    ],
)
def test_why_something_is_not_ready(cluster: Described, said: dict[str, Any], reason: str) -> None:
    cluster.holds("services.serving.knative.dev", SUBMIT | {"status": said})
    assert unready([SUBMIT]) == [("service/submit", reason)]


def test_a_stateful_set_is_ready_with_new_pods_only(cluster: Described) -> None:
    cluster.holds(
        "statefulsets", REDIS | {"spec": {"replicas": 1}, "status": REPLICAS | {"updatedReplicas": 0}}
    )
    assert unready([REDIS]) == [("statefulset/redis", "1 of 1 pods are ready, 0 of them new")]


def test_past_its_time_it_says_what_is_not_ready_and_why(cluster: Described) -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    pods = [
        resource("v1", "Pod", "submit-1", status={"containerStatuses": [container("user", waiting)]}),
        resource("v1", "Pod", "submit-2", status={"conditions": [unscheduled("no CPU is left")]}),
        resource("v1", "Pod", "submit-3", status={"containerStatuses": [container("user", exited(), 4)]}),
        resource("v1", "Pod", "bucket-1", status={"phase": "Succeeded"}),
        going("submit-0", waiting),
    ]
    cluster.holds("pods", *pods)
    cluster.holds("events", event("submit-2", "Insufficient cpu"))
    cluster.logs("REDIS_URL: is missing\n")
    with pytest.raises(SetupError) as raised:
        wait([SUBMIT], 0)
    lines = str(raised.value).splitlines()
    assert lines == [
        "not ready after 0 s:",
        "  service/submit: is not there",
        "  pod/submit-1, container user: not ready, waiting: ErrImagePull: no such image",
        "  pod/submit-2: Unschedulable: no CPU is left",
        "  pod/submit-3, container user: not ready, terminated: Error",
        "    | REDIS_URL: is missing",
        "  event of pod/submit-2: Insufficient cpu",
    ]


def going(name: str, state: dict[str, Any]) -> dict[str, Any]:
    pod = resource("v1", "Pod", name, status={"containerStatuses": [container("user", state)]})
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return pod


def container(name: str, state: dict[str, Any], restarts: int = 0) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": restarts, "state": state}


def exited() -> dict[str, Any]:
    return {"terminated": {"reason": "Error", "exitCode": 1}}


def unscheduled(message: str) -> dict[str, str]:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def event(pod: str, message: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": pod}
    return resource(
        "v1", "Event", "e", involvedObject=about, message=message, lastTimestamp="2026-01-01T00:00:00Z"
    )
