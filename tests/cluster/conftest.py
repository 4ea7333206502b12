"""The cluster that KUBECONFIG names, with the product on it as `make cluster` leaves it behind.

Where there is none, everything here is skipped. The gateway and the object store are reached by
`kubectl port-forward`, so the cluster may be anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from mochi import Client, Job
from tests.cluster.kubectl import Kubectl, Resource, condition
from tests.cluster.system import NAMESPACE, PREDICTOR, System
from tests.cluster.videos import LONG, SMALL, fetched
from tests.cluster.waiting import until

#: Where kourier, Knative's own gateway, is reached.
GATEWAY = ("kourier-system", "service/kourier", 80)
_INSTALL = 300.0  # seconds until an installation that was just begun is ready


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The product's namespace."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG names none")
    kubectl = Kubectl(NAMESPACE)
    assert kubectl.find("namespace", NAMESPACE), f"no namespace {NAMESPACE}: `make cluster` comes first"
    return kubectl


@pytest.fixture(scope="session")
def system(kubectl: Kubectl) -> Iterator[System]:
    """The product, once it is ready."""
    service = until("submit is ready", lambda: _ready(kubectl, "ksvc", "submit"), _INSTALL)
    until("the predictor is ready", lambda: _ready(kubectl, "inferenceservice", PREDICTOR), _INSTALL)
    namespace, target, port = GATEWAY
    with Kubectl(namespace).forward(target, port) as local:
        yield System(kubectl, f"http://127.0.0.1:{local}", service["status"]["url"])


def _ready(kubectl: Kubectl, kind: str, name: str) -> Resource | None:
    resource = kubectl.find(kind, name)
    return resource if resource is not None and condition(resource) == "True" else None


@pytest.fixture(scope="session")
def _object_store(system: System) -> Iterator[None]:
    """What presigned URLs lead to answers on this machine."""
    endpoint = system.settings().s3_public_endpoint
    assert endpoint, "MOCHI_S3_PUBLIC_ENDPOINT: clients outside the cluster need one"
    if _answers(endpoint):
        yield
        return
    at = urlsplit(endpoint)
    assert at.hostname in ("127.0.0.1", "localhost"), f"{endpoint} is not reached from here"
    (port,) = (p["port"] for p in system.kubectl.get("service", "s3")["spec"]["ports"])
    with system.kubectl.forward("service/s3", port, at.port or 80):
        yield


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture
def client(system: System, _object_store: None) -> Iterator[Client]:
    with system.client() as connected:
        yield connected


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure, whether the test passes or not."""

    def print_it(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)  # noqa: T201  # what these tests measure

    return print_it


@pytest.fixture
def warm(client: Client) -> None:
    """A predictor that has a pod."""
    client.wait(client.submit("a warm circle", **SMALL).id, timeout=240)


@pytest.fixture(scope="session")
def uninterrupted(
    system: System, _object_store: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, bytes]:
    """A long job that one attempt did, and its video."""
    with system.client() as client:
        job = client.wait(client.submit(**LONG).id, timeout=400)
        assert job.attempt == 1, job.attempts
        return job, fetched(client, job, tmp_path_factory.mktemp("uninterrupted"))
