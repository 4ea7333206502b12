"""The manifests as files, and as `kubectl apply -k` would send them. Needs no cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "COMPONENTS",
    "OVERLAYS",
    "ROOT",
    "VARIANTS",
    "Pod",
    "Resource",
    "applied",
    "document",
    "one",
    "pods",
    "render",
]

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(p.name for p in (ROOT / "knative/overlays").iterdir())
COMPONENTS = sorted(p.name for p in (ROOT / "knative/components").iterdir())
_SECONDS = 60  # kustomize takes a third of one

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """The template of a workload's pods."""

    workload: Resource
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Resource

    @property
    def name(self) -> str:
        """What its label says it is."""
        return self.labels["app.kubernetes.io/name"]

    @property
    def containers(self) -> Sequence[Resource]:
        """All of them."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def document(path: Path) -> Resource:
    """The one document of a file."""
    (only,) = yaml.safe_load_all(path.read_text("utf-8"))
    assert isinstance(only, dict)
    return only


@cache
def render(overlay: str, component: str = "") -> Sequence[Resource]:
    """What an overlay makes, with a component on top."""
    if not component:
        return _kustomize(_folder(overlay))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        way = os.path.relpath(ROOT / "knative/components" / component, folder)
        return applied(folder, overlay, {"components": [way]})


def applied(folder: Path, overlay: str, changes: Mapping[str, Any]) -> Sequence[Resource]:
    """What an overlay makes with these fields of a kustomization around it, written into `folder`."""
    folder = folder.resolve()
    resources = [os.path.relpath(_folder(overlay), folder)]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**changes, "resources": resources}), "utf-8")
    return _kustomize(folder)


def _folder(overlay: str) -> Path:
    return ROOT / "knative/overlays" / overlay


def _kustomize(folder: Path) -> Sequence[Resource]:
    done = subprocess.run(
        [_kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # what is on its way out, say
    return list(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _kubectl() -> str:
    """The one of the development environment, else the machine's."""
    own = Path(sysconfig.get_path("scripts")) / "kubectl"
    found = str(own) if own.is_file() else shutil.which("kubectl")
    assert found, "kubectl is missing: `uv sync` brings one"
    return found


def one(resources: Sequence[Resource], kind: str, name: str) -> Resource:
    """The resource of this kind and name; a ConfigMap by its name without the hash."""
    (found,) = (r for r in resources if r["kind"] == kind and _name(r) == name)
    return found


def _name(resource: Resource) -> str:
    name: str = resource["metadata"]["name"]
    return name.rpartition("-")[0] if resource["kind"] == "ConfigMap" else name


def pods(resources: Sequence[Resource]) -> Iterator[Pod]:
    """The pods of all workloads."""
    for resource in resources:
        match resource["kind"], resource["apiVersion"].partition("/")[0]:
            case ("StatefulSet" | "Job", _) | ("Service", "serving.knative.dev"):
                template = resource["spec"]["template"]
                found = template["metadata"]
                yield Pod(resource, found["labels"], found.get("annotations", {}), template["spec"])
            case ("InferenceService", _):  # what KServe hands on to its Knative Service
                found, spec = resource["metadata"], resource["spec"]["predictor"]
                labels = {**found["labels"], "serving.kserve.io/inferenceservice": found["name"]}
                labels["serving.knative.dev/service"] = f"{found['name']}-predictor"
                yield Pod(resource, labels, found["annotations"], spec)


def _has(overlay: str, component: str) -> bool:
    has = document(_folder(overlay) / "kustomization.yaml").get("components", ())
    return f"../../components/{component}" in has


#: Each overlay alone, and with each component that it has not: its name, and the component's or nothing.
VARIANTS = [(o, c) for o in OVERLAYS for c in ("", *COMPONENTS) if not c or not _has(o, c)]
