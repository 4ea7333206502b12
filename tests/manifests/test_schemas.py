"""Every overlay, with every component, against the schemas of Kubernetes, Knative and KServe."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.manifests.rendered import OVERLAYS, VARIANTS, one, render
from tests.manifests.schemas import errors_of, kinds_of_the_manifests, stored


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_an_overlay_holds_what_a_cluster_takes(overlay: str, component: str) -> None:
    resources = render(overlay, component)
    assert resources
    wrong = {f"{r['kind']}/{r['metadata']['name']}": errors for r in resources if (errors := errors_of(r))}
    assert wrong == {}


def test_the_schemas_are_those_of_what_the_manifests_hold() -> None:
    assert {f"{version}/{kind}" for version, kind in kinds_of_the_manifests()} == set(stored()["kinds"])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("InferenceService", "mochi-1", "spec.predictor.maxReplica", 2),
        ("InferenceService", "mochi-1", "spec.predictor.maxReplicas", "2"),
        ("InferenceService", "mochi-1", "spec.predictor.containers.0.imag", "x"),
        ("Service", "completion", "spec.template.spec.containers.0.readinessProbe.period", 1),
        ("Trigger", "completion", "spec.delivery", {"retry": "thrice"}),
        ("Broker", "default", "spec.delivery.backoffPolicy", 3),
        ("PingSource", "reaper", "spec.cron", "* * * * *"),
        ("StatefulSet", "redis", "spec.template.spec.containers.0.ports.0.containerPort", "http"),
        ("NetworkPolicy", "default-deny", "spec.ingres", []),
    ],
)
def test_a_mistake_is_found(overlay: str, kind: str, name: str, path: str, value: object) -> None:
    resource: Any = copy.deepcopy(one(render(overlay), kind, name))
    assert errors_of(resource) == []
    *way, last = path.split(".")
    place = resource
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    assert errors_of(resource) != []
