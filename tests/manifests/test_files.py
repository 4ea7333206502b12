"""The files of the manifests: one resource each, all of them in a kustomization, all of them named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests.rendered import ROOT, Resource, document

FILES = sorted(p for folder in ("knative", "kserve") for p in (ROOT / folder).rglob("*.yaml"))
KUSTOMIZATIONS = [p for p in FILES if p.name == "kustomization.yaml"]
#: What kustomize reads, and no cluster does.
FOR_KUSTOMIZE = [p for p in FILES if p.name == "references.yaml" or p.name.startswith("patch-")]
RESOURCES = [p for p in FILES if p not in KUSTOMIZATIONS and p not in FOR_KUSTOMIZE]
OF_NO_NAMESPACE = {"Namespace", "ClusterRole", "ClusterDomainClaim"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", RESOURCES, ids=named)
def test_a_file_holds_one_resource_with_its_name(path: Path) -> None:
    resource = document(path)
    assert resource["apiVersion"]
    assert resource["metadata"]["labels"]["app.kubernetes.io/name"]
    assert ("namespace" in resource["metadata"]) is (resource["kind"] not in OF_NO_NAMESPACE)
    assert resource["metadata"].get("namespace", "video") == "video"


@pytest.mark.parametrize("path", RESOURCES, ids=named)
def test_a_file_is_called_as_what_it_holds(path: Path) -> None:
    resource = document(path)
    kind, name = resource["kind"].lower(), resource["metadata"]["name"]
    folder = path.parent.name
    assert path.stem in {kind, name, f"{kind}-{name}", f"{kind}-{name.removeprefix('mochi-')}"}
    if folder == "network":
        assert path.stem == name


def referred(kustomization: Resource) -> Iterator[str]:
    yield from kustomization.get("resources", ())
    yield from kustomization.get("components", ())
    yield from kustomization.get("configurations", ())
    for patch in kustomization.get("patches", ()):
        if "path" in patch:
            yield patch["path"]
    for generator in kustomization.get("configMapGenerator", ()):
        yield from (*generator.get("files", ()), *generator.get("envs", ()))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=named)
def test_a_kustomization_names_every_file_beside_it_and_no_other(path: Path) -> None:
    names = list(referred(document(path)))
    beside = {p.name for p in path.parent.iterdir() if p.is_file() and p != path}
    assert {n for n in names if "/" not in n} - {"."} == beside
    assert len(names) == len(set(names))
    assert all((path.parent / name).exists() for name in names)


def test_every_file_is_in_a_kustomization() -> None:
    folders = {p.parent for p in KUSTOMIZATIONS}
    assert [named(p) for p in FILES if p.parent not in folders] == []
