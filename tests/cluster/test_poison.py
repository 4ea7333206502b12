"""Events that can never work, and events that are none of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from mochi import Client, JobFailed
from tests.cluster.kubectl import Kubectl, Resource, condition
from tests.cluster.system import System
from tests.cluster.test_doors import made
from tests.cluster.videos import SMALL
from tests.cluster.waiting import until


@pytest.mark.timeout(600)
def test_an_event_that_nobody_takes_fails_its_job_with_the_reason(
    client: Client, system: System, say: Callable[[str], None]
) -> None:
    with misrouted(system.kubectl, "predict-long-high"):
        job = client.submit("a poisoned circle", **SMALL, queue="long-high")
        with pytest.raises(JobFailed) as failed:
            client.wait(job.id, timeout=540)
    error = failed.value.job.error
    assert error is not None
    say(f"{error.code}: {error.message}")
    assert error.code == "undeliverable"
    assert "refused 3 times" in error.message
    # The queue works again, and no credit is held.
    assert client.wait(client.submit("an antidote", **SMALL, queue="long-high").id, timeout=300)


@contextmanager
def misrouted(kubectl: Kubectl, name: str) -> Iterator[None]:
    """A Trigger that sends its events to submit, to which they are no requests."""
    before = kubectl.get("trigger", name)["spec"]["subscriber"]
    wrong = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "submit"}}
    subscribe(kubectl, name, wrong)
    try:
        yield
    finally:
        subscribe(kubectl, name, before)


def subscribe(kubectl: Kubectl, name: str, subscriber: Resource) -> None:
    trigger = kubectl.get("trigger", name)
    if trigger["spec"]["subscriber"] == subscriber:
        return  # somebody has applied the manifests meanwhile
    before = trigger["status"]["subscriberUri"]
    kubectl.patch("trigger", name, [{"op": "replace", "path": "/spec/subscriber", "value": subscriber}])

    def changed() -> bool:
        trigger = kubectl.get("trigger", name)
        return condition(trigger) == "True" and trigger["status"]["subscriberUri"] != before

    until(f"the Trigger {name} sends elsewhere", changed, 60)


@pytest.mark.timeout(300)
def test_a_foreign_event_reaches_nobody(client: Client, system: System, kubectl: Kubectl) -> None:
    event_id = uuid4().hex
    headers = {
        "ce-specversion": "1.0",
        "ce-source": "/tests/cluster",
        "ce-id": event_id,
        "content-type": "application/json",
        "ce-queue": "short-low",
    }

    def publish(type_: str, prompt: str) -> None:
        body = json.dumps({**SMALL, "prompt": prompt}).encode()
        answer = httpx.post(url, content=body, headers={**headers, "ce-type": type_}, timeout=30)
        assert answer.status_code == 202

    with system.broker() as url:
        # Each is what somebody would take if the type did not matter.
        publish("com.example.foreign", f"foreign {event_id}")
        publish("dev.mochi.generation.submitted", f"ours {event_id}")
    ours = until("our own event makes a job", lambda: made(client, f"ours {event_id}"), 60)
    client.wait(ours.id, timeout=240)
    assert made(client, f"foreign {event_id}") is None
    for pod in kubectl.list("pod", "serving.knative.dev/service"):
        said = kubectl("logs", pod["metadata"]["name"], "--all-containers", check=False)
        assert "com.example.foreign" not in said
