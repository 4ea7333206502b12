"""The cluster that KUBECONFIG names, with the product on it as `make cluster` leaves it behind.

Where there is none, everything here is skipped. The gateway and the object store are reached by
`kubectl port-forward`, so the cluster may be anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mochi import BadRequest, Client
from tests.cluster.kubectl import Kubectl, condition
from tests.cluster.system import NAMESPACE, PREDICTOR, System
from tests.cluster.videos import LONG, SMALL
from tests.cluster.waiting import until

#: Where kourier, Knative's own gateway, is reached, and the name by which it knows submit.
GATEWAY = ("kourier-system", "service/kourier", 80)
SUBMIT = "127.0.0.1"
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
    for kind, name in (("ksvc", "submit"), ("inferenceservice", PREDICTOR), ("domainmapping", SUBMIT)):
        until(f"{kind}/{name} is ready", lambda k=kind, n=name: _is_ready(kubectl, k, n), _INSTALL)  # type: ignore[misc]  # mypy cannot infer it
    namespace, target, port = GATEWAY
    with Kubectl(namespace).forward(target, port) as local:
        yield System(kubectl, f"http://{SUBMIT}:{local}")


def _is_ready(kubectl: Kubectl, kind: str, name: str) -> bool:
    resource = kubectl.find(kind, name)
    return resource is not None and condition(resource) == "True"


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
    client.wait(client.submit("a warm circle", **SMALL).id, timeout=400)


@pytest.fixture(scope="session")
def paced(system: System, _object_store: None) -> Iterator[None]:
    """A predictor without a model, whose steps take their time and no core; what is lost is soon missed.

    Of the whole session: the tests that use it come last.
    """
    environ = {"MODEL_NAME": "none", "MOCHI_CHECKPOINT_SECONDS": "5", "MOCHI_LEASE_SECONDS": "20"}
    scaling = {"window": "10s", "scale-down-delay": "0s", "scale-to-zero-pod-retention-period": "0s"}
    with system.revised(environ, scaling), system.client() as client:
        client.wait(client.submit("a quick circle", **SMALL).id, timeout=240)
        until("submit knows what this model can do", lambda: _would_take(client, LONG), 30)
        yield


def _would_take(client: Client, fields: Mapping[str, Any]) -> bool:
    """Whether submit refuses nothing of a request but the prompt."""
    try:
        client.submit(**{**fields, "prompt": " "})
    except BadRequest as refused:
        return [problem.field for problem in refused.errors] == ["prompt"]
    raise AssertionError("a request without a prompt was taken")
