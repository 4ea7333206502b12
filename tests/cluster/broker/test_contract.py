"""The contract of a broker, over Knative's default one, in a namespace of its own.

The recorder runs here: the cluster's pods reach this machine at the address from which it reaches the
cluster's API server.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.cluster.kubectl import Kubectl, Resource, condition
from tests.cluster.waiting import until
from tests.local.broker.contract import (
    BrokerContract,
    Deployment,
    broker_delivery,
    post,
    received,
    subscriptions,
)
from tests.local.broker.recorder import PROBE, Answer, Recorder
from tests.local.broker.support import Subscription, event_headers, resources

#: As on our Broker. Without it a POST returns when all deliveries and replies have ended.
ASYNC = {"messaging.knative.dev/async-handler": "true"}
READY = 180.0  # seconds that a Broker and its Triggers may take
#: Their subscribers are not there.
UNREACHED = ("late", "away")


@contextmanager
def a_namespace() -> Iterator[tuple[Kubectl, str]]:
    """A new one, which goes with all that is in it."""
    name = f"broker-contract-{uuid.uuid4().hex[:8]}"
    kubectl = Kubectl(name)
    kubectl("create", "namespace", name)
    try:
        yield kubectl, name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def own_address(kubectl: Kubectl) -> str:
    """This machine's address as the cluster sees it."""
    server = urlsplit(kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))  # sends nothing
        return str(probe.getsockname()[0])


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def deploy(kubectl: Kubectl, broker_and_triggers: Sequence[Resource]) -> str:
    """Apply them and wait until they are ready; the Broker's address in the cluster."""
    broker, *triggers = broker_and_triggers
    broker["metadata"]["annotations"] = ASYNC
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all([broker, *triggers]))

    def ready() -> bool:
        existing = [*kubectl.list("broker"), *kubectl.list("trigger")]
        return len(existing) == len(broker_and_triggers) and all(condition(r) == "True" for r in existing)

    until("the Broker and its Triggers are ready", ready, READY, every=2)
    return str(kubectl.get("broker", "default")["status"]["address"]["url"])


def probe(trigger: Subscription) -> dict[str, str]:
    """The headers of an event that the Trigger wants."""
    attributes: dict[str, str] = {}
    for each in trigger.filters:
        attributes |= each.get("any", [each])[0]["exact"]
    return event_headers(attributes.pop("type"), PROBE, **attributes)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG names none")
    with a_namespace() as (kubectl, namespace):
        host = own_address(kubectl)
        late_port = free_port(host)
        with Recorder(host=host) as recorder, httpx.Client(trust_env=False, timeout=30) as client:
            triggers = subscriptions(recorder, late_port)
            address = urlsplit(deploy(kubectl, resources(namespace, triggers, broker_delivery(recorder))))
            service, system, *_ = str(address.hostname).split(".")
            with Kubectl(system).forward(f"service/{service}", address.port or 80) as port:
                url = f"http://127.0.0.1:{port}{address.path}"

                paths = {urlsplit(t.subscriber).path: probe(t) for t in triggers if t.name not in UNREACHED}

                def silent() -> set[str]:
                    """Ready is what the controllers say; ingress, dispatcher and filter hear of it later."""
                    for path in (missing := paths.keys() - recorder.probed()):
                        client.post(url, headers=paths[path])
                    return missing

                until(f"each Trigger reaches this machine at {host}", lambda: not silent(), READY, every=1)
                yield Deployment(url, recorder, late_port, client)


@pytest.mark.timeout(300)
class TestKnativesBroker(BrokerContract):
    """Every test of the contract, and what is Knative's own."""

    # What docs/operations.md lists as different from the broker of one machine.

    def test_it_adds_attributes_of_its_own(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/refusing", Answer(400))
        post(deployment, event_headers("test.refusing", "attributes"))
        (letter,) = received(deployment, "/letters/refusing", "attributes")
        (event,) = received(deployment, "/refusing", "attributes")
        assert "ce-knativearrivaltime" in event.headers
        assert letter.headers["ce-knativebrokerttl"] == "255"

    def test_it_takes_large_events(self, deployment: Deployment) -> None:
        body = b"x" * (2 * 1024 * 1024)
        assert post(deployment, event_headers("test.plain", "large"), body).status_code == 202
        (event,) = received(deployment, "/plain", "large")
        assert event.body == body

    def test_it_follows_redirects(self, deployment: Deployment) -> None:
        moved = Answer(308, {"location": deployment.recorder.url("/moved")})
        deployment.recorder.answer("/plain", moved)
        try:
            post(deployment, event_headers("test.plain", "moved"))
            received(deployment, "/moved", "moved")
        finally:
            deployment.recorder.answer("/plain", Answer())
