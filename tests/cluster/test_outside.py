"""What the outside gateway leads to: submit, and nothing else of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.cluster.conftest import GATEWAY
from tests.cluster.kubectl import Kubectl
from tests.cluster.system import NAMESPACE, PREDICTOR

pytestmark = [pytest.mark.core, pytest.mark.timeout(300)]

INSIDE = ("kourier-system", "service/kourier-internal", 80)
#: Paths of ours that take events, and KServe's own doors.
DOORS = [
    ("completion", "/"),
    ("reaper", "/"),
    ("reaper", "/dead-letters"),
    (PREDICTOR, "/events"),
    (PREDICTOR, f"/v1/models/{PREDICTOR}:predict"),
    (f"{PREDICTOR}-predictor", "/events"),
]
#: An event that means nothing: it is refused by whoever gets it.
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/outside", "ce-type": "com.example.foreign"}


@contextmanager
def through(gateway: tuple[str, str, int]) -> Iterator[httpx.Client]:
    namespace, target, port = gateway
    with (
        Kubectl(namespace).forward(target, port) as local,
        httpx.Client(base_url=f"http://127.0.0.1:{local}", timeout=120, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def outside(kubectl: Kubectl) -> Iterator[httpx.Client]:  # noqa: ARG001  # skips where there is no cluster
    with through(GATEWAY) as client:
        yield client


@pytest.fixture(scope="module")
def inside(kubectl: Kubectl) -> Iterator[httpx.Client]:  # noqa: ARG001  # skips where there is no cluster
    """The gateway that is for the cluster's own pods."""
    with through(INSIDE) as client:
        yield client


@pytest.fixture(scope="module")
def domain(kubectl: Kubectl) -> str:
    """That of the namespace, outside: submit's address without its name."""
    host = str(urlsplit(kubectl.get("ksvc", "submit")["status"]["url"]).hostname)
    return host.removeprefix("submit.")


def test_submit_is_reached(outside: httpx.Client, domain: str) -> None:
    answer = outside.get("/livez", headers={"host": f"submit.{domain}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("name", "path"), DOORS)
def test_nothing_else_is(outside: httpx.Client, domain: str, name: str, path: str) -> None:
    hosts = [
        f"{name}.{domain}",
        f"{name}.{NAMESPACE}.svc.cluster.local",
        f"{name}.{NAMESPACE}.svc",
        f"{name}.{NAMESPACE}",
    ]
    for host in hosts:
        answer = outside.post(path, headers={**EVENT, "host": host}, content=b"{}")
        assert answer.status_code == 404, f"{host}{path}: {answer.status_code} {answer.text[:200]}"
        # The gateway's own: it knows no such host. A 404 of ours has a body.
        assert answer.content == b"", f"{host}{path}: {answer.text[:200]}"


@pytest.mark.parametrize("name", ["completion", "reaper", f"{PREDICTOR}-predictor"])
def test_its_address_is_one_of_the_cluster(kubectl: Kubectl, name: str) -> None:
    url = urlsplit(kubectl.get("ksvc", name)["status"]["url"])
    assert url.hostname == f"{name}.{NAMESPACE}.svc.cluster.local"


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(("name", "path"), [door for door in DOORS if door[0] != PREDICTOR])
def test_the_same_request_arrives_inside(inside: httpx.Client, name: str, path: str) -> None:
    host = f"{name}.{NAMESPACE}.svc.cluster.local"
    answer = inside.post(path, headers={**EVENT, "host": host}, content=b"no JSON")
    assert answer.status_code != 404
    assert answer.status_code < 500, answer.text
