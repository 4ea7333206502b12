"""Which event goes where: the Triggers against the code's event types and queues, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eventing.events import EVENT_TYPES, TYPE_PREFIX
from jobs.settings import Settings
from local.broker.pings import pings_of
from local.broker.routes import Routes, routes_of
from local.manifests import load
from tests.manifests.rendered import ROOT, document

FILES = sorted((ROOT / "knative/base").glob("*.yaml"))
ADDRESSES = {
    "Service/submit": "http://submit",
    "Service/completion": "http://completion",
    "Service/reaper": "http://reaper",
    "InferenceService/mochi-1": "http://mochi-1",
}
#: Types that are published for whoever listens; the system itself needs no consumer of theirs.
FOR_OTHERS = {f"{TYPE_PREFIX}accepted"}


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


def test_every_type_that_a_trigger_names_exists_and_every_type_has_a_consumer() -> None:
    wanted = {t for p in FILES for exact in values_of(document(p), "exact") for t in [exact.get("type")]}
    assert wanted - {None} == set(EVENT_TYPES) - FOR_OTHERS


def test_every_queue_of_a_trigger_exists_and_every_queue_has_a_consumer() -> None:
    wanted = [q for p in FILES for exact in values_of(document(p), "exact") for q in [exact.get("queue")]]
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
