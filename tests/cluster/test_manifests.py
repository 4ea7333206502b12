"""The manifests and the everyday tests' schemas against what the cluster itself takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import pytest

from tests.cluster.kubectl import Kubectl
from tests.manifests.rendered import VARIANTS, Resource, one, render
from tests.manifests.schemas import fetched, kinds_of_the_manifests, stored

pytestmark = pytest.mark.core

#: What is there cannot be changed to another overlay's: a Job's image, a volume's size, a Broker's class.
NEVER_CHANGED = {"Job", "StatefulSet", "PersistentVolumeClaim", "Broker"}


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_the_cluster_takes_an_overlay(kubectl: Kubectl, overlay: str, component: str) -> None:
    """With the webhooks of Knative and KServe, and without a warning. Nothing is changed.

    Of an overlay with a component, what it has not without.
    """
    items = [r for r in render(overlay, component) if not component or r not in render(overlay)]
    assert items
    took, warnings = tried(kubectl, [fresh(item) for item in items])
    assert warnings == []
    assert len(took) == len(items)


def test_a_warning_would_be_seen(kubectl: Kubectl) -> None:
    """Of a Job, say, that is taken, and whose pods would never come."""
    job = copy.deepcopy(fresh(one(render("cpu"), "Job", "bucket")))
    del job["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    took, warnings = tried(kubectl, [job])
    assert len(took) == 1
    assert "PodSecurity" in "".join(warnings)


def tried(kubectl: Kubectl, items: Sequence[Resource]) -> tuple[Sequence[str], Sequence[str]]:
    """What the cluster would do with each, in a line, and the warnings that it gives."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = kubectl.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=given)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning:")]
    return done.stdout.splitlines(), warnings


def fresh(resource: Resource) -> Resource:
    """The same, under a name that is not there if the one that is could not be changed."""
    if resource["kind"] not in NEVER_CHANGED:
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
