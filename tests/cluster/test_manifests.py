"""The manifests and the everyday tests' schemas against what the cluster itself takes."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubectl import Kubectl
from tests.manifests.rendered import OVERLAYS, Resource, render
from tests.manifests.schemas import fetched, kinds_of_the_manifests, stored

pytestmark = pytest.mark.core

#: What is there cannot be changed to another overlay's: volumes neither shrink nor grow here.
OF_ONE_OVERLAY = {"StatefulSet", "PersistentVolumeClaim"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_cluster_takes_an_overlay(kubectl: Kubectl, overlay: str) -> None:
    """With the webhooks of Knative and KServe, and without a warning. Nothing is changed."""
    items = [fresh(r) for r in render(overlay) if overlay == "cpu" or r["kind"] not in OF_ONE_OVERLAY]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    said = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=given)
    assert len(said.splitlines()) == len(items)


def fresh(resource: Resource) -> Resource:
    """A Job under another name: the one that is there may have another image, and cannot be changed."""
    if resource["kind"] != "Job":
        return resource
    name = f"{resource['metadata']['name']}-tried"
    return {**resource, "metadata": {**resource["metadata"], "name": name}}


def test_the_everyday_tests_know_the_clusters_schemas(kubectl: Kubectl) -> None:
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    if version != stored()["versions"]["kubernetes"]:
        pytest.skip(f"the schemas are of {stored()['versions']}, and this cluster is of {version}")
    now = fetched(kinds_of_the_manifests())
    assert now["kinds"] == stored()["kinds"]
    assert [name for name in now["$defs"] if now["$defs"][name] != stored()["$defs"].get(name)] == []
