"""The manifests against the code: what they name exists, and what the code needs is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventing.events import EVENT_TYPES, TYPE_PREFIX
from jobs.settings import Settings
from local.broker.pings import pings_of
from local.broker.routes import Routes, routes_of
from local.manifests import load

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for folder in ("knative", "kserve") for p in (ROOT / folder).rglob("*.yaml"))
KUSTOMIZATIONS = [p for p in FILES if p.name == "kustomization.yaml"]
RESOURCES = [p for p in FILES if p not in KUSTOMIZATIONS]
ADDRESSES = {
    "Service/submit": "http://submit",
    "Service/completion": "http://completion",
    "Service/reaper": "http://reaper",
    "InferenceService/mochi-1": "http://mochi-1",
}
#: Seconds from a pod's deletion to its SIGTERM: so long queue-proxy waits for requests on their way.
QUEUE_PROXY_DRAIN = 30
#: Types that are published for whoever listens; the system itself needs no consumer of theirs.
FOR_OTHERS = {f"{TYPE_PREFIX}accepted"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def document(path: Path) -> Mapping[str, Any]:
    """The one resource of a file."""
    (only,) = yaml.safe_load_all(path.read_text("utf-8"))
    assert isinstance(only, dict)
    return only


def values_of(node: object, key: str) -> Iterator[Any]:
    """Every value under this key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value, key)


@pytest.fixture
def routes() -> Routes:
    return routes_of(load(ROOT / "knative"), ADDRESSES)


@pytest.fixture
def predictor() -> Mapping[str, Any]:
    spec: Mapping[str, Any] = document(ROOT / "kserve/base/inferenceservice.yaml")["spec"]["predictor"]
    return spec


@pytest.mark.parametrize("path", RESOURCES, ids=named)
def test_a_file_holds_one_resource_with_its_name(path: Path) -> None:
    resource = document(path)
    assert resource["apiVersion"]
    assert resource["metadata"]["labels"]["app.kubernetes.io/name"]
    if resource["kind"] != "Namespace":
        assert resource["metadata"]["namespace"] == "video"


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=named)
def test_a_kustomization_lists_every_file(path: Path) -> None:
    beside = {p.name for p in path.parent.glob("*.yaml") if p != path}
    assert set(document(path)["resources"]) >= beside
    assert all((path.parent / name).exists() for name in document(path)["resources"])


def test_every_file_is_in_a_kustomization() -> None:
    folders = {p.parent for p in KUSTOMIZATIONS}
    assert [named(p) for p in RESOURCES if p.parent not in folders] == []


def test_every_type_that_a_trigger_names_exists_and_every_type_has_a_consumer() -> None:
    wanted = {t for p in RESOURCES for exact in values_of(document(p), "exact") for t in [exact.get("type")]}
    assert wanted - {None} == set(EVENT_TYPES) - FOR_OTHERS


def test_every_queue_of_a_trigger_exists_and_every_queue_has_a_consumer() -> None:
    wanted = [q for p in RESOURCES for exact in values_of(document(p), "exact") for q in [exact.get("queue")]]
    assert sorted(q for q in wanted if q) == sorted(Settings().queues)


@pytest.mark.parametrize("queue", sorted(Settings().queues))
@pytest.mark.parametrize("kind", ["requested", "continued"])
def test_work_goes_to_the_predictor_alone(routes: Routes, queue: str, kind: str) -> None:
    attributes = {"type": f"{TYPE_PREFIX}{kind}", "queue": queue}
    (route,) = routes.wanting("video/default", attributes)
    assert route.subscriber == "http://mochi-1/events"
    assert route.policy.dead_letters == "http://reaper/dead-letters"
    assert [route.policy.backoff(n) for n in (1, 2, 3)] == [2, 4, 8]
    assert route.policy.retry == 3


@pytest.mark.parametrize(
    ("kind", "consumer"),
    [
        ("completed", "http://completion"),
        ("failed", "http://completion"),
        ("cancelled", "http://completion"),
        ("submitted", "http://submit"),
    ],
)
def test_other_events_go_to_their_function(routes: Routes, kind: str, consumer: str) -> None:
    (route,) = routes.wanting("video/default", {"type": f"{TYPE_PREFIX}{kind}", "queue": "short-low"})
    assert route.subscriber == consumer
    assert route.policy.retry > 0
    assert route.policy.dead_letters == "http://reaper/dead-letters"


def test_the_reaper_is_called_every_minute() -> None:
    (ping,) = pings_of(load(ROOT / "knative"), ADDRESSES)
    assert (ping.sink, ping.source.schedule) == ("http://reaper", "* * * * *")


class Asked(Mapping[str, str]):
    """An environment without a variable, which notes what it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_setting_that_a_manifest_gives_exists() -> None:
    given = {v["name"] for path in RESOURCES for env in values_of(document(path), "env") for v in env}
    environ = Asked()
    Settings.from_environ(environ)
    assert given
    assert given <= environ.names


def test_the_predictors_numbers_fit_together(predictor: Mapping[str, Any]) -> None:
    (container,) = predictor["containers"]
    env = {v["name"]: v.get("value") for v in container["env"]}
    triggers = [t for t in load(ROOT / "knative").triggers if t.subscriber.ref == "InferenceService/mochi-1"]
    assert predictor["maxReplicas"] * predictor["containerConcurrency"] == int(env["MOCHI_POOL_LIMIT"])
    assert QUEUE_PROXY_DRAIN + int(env["MOCHI_GRACE_SECONDS"]) < predictor["timeout"]
    assert all((t.delivery.timeout or 0) > predictor["timeout"] for t in triggers)
    assert env["MOCHI_POOL"] == document(ROOT / "kserve/base/inferenceservice.yaml")["metadata"]["name"]
    assert dict(Settings.from_environ({"MOCHI_QUEUES": env["MOCHI_QUEUES"]}).queues) == Settings().queues
