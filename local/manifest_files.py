"""The resources in a folder of manifests, read and not yet understood: who each is, and its spec.

Everything that goes wrong is told with the file, the resource and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from jobs.errors import ConfigurationError

__all__ = ["ManifestError", "Resource", "checked", "fields", "resources"]

T = TypeVar("T")

_KINDS = {
    "Broker": "eventing.knative.dev",
    "Trigger": "eventing.knative.dev",
    "PingSource": "sources.knative.dev",
}
#: Folders of patches over what the bases hold; only kustomize can read them.
_PATCHES = {"overlays", "components"}


class ManifestError(ConfigurationError):
    """A manifest is wrong, or asks for something that only a cluster can do."""


@dataclass(frozen=True)
class Resource:
    """A resource of one of the kinds that a broker serves."""

    where: str  # its file, kind and name, for errors
    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]


def resources(folder: Path) -> Sequence[Resource]:
    """Those in all YAML files below `folder`, overlays and components aside. Raises ManifestError."""
    found = list(_resources(folder))
    _refuse_doubles(found)
    return found


def _resources(folder: Path) -> Iterator[Resource]:
    if not folder.is_dir():
        raise ManifestError(f"{folder}: is no folder of manifests")
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yaml", ".yml")):
        if _PATCHES.isdisjoint(path.relative_to(folder).parts):
            yield from _read(path)


def _read(path: Path) -> Iterator[Resource]:
    try:
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if not isinstance(document, dict):
            continue
        kind, group = document.get("kind"), str(document.get("apiVersion", "")).partition("/")[0]
        if isinstance(kind, str) and _KINDS.get(kind) == group:
            yield _resource(path, kind, document)


def _resource(path: Path, kind: str, document: Mapping[str, Any]) -> Resource:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str):
        raise ManifestError(f"{path}: {kind}: metadata.name is missing")
    where = f"{path}: {kind} {name}"
    spec = document.get("spec") or {}
    if not isinstance(spec, dict):
        raise ManifestError(f"{where}: spec: is no mapping")
    return Resource(where, kind, str(metadata.get("namespace", "default")), name, spec)


def _refuse_doubles(resources: Sequence[Resource]) -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for resource in resources:
        key = (resource.kind, resource.namespace, resource.name)
        if key in seen:
            raise ManifestError(f"{resource.where}: is there twice; the other one is {seen[key]}")
        seen[key] = resource.where


def fields(value: object, field: str, *allowed: str) -> Mapping[str, Any]:
    """The mapping at `field`, which may hold only these names. Raises ManifestError."""
    if not isinstance(value, dict):
        raise ManifestError(f"{field}: is no mapping")
    for name in value:
        if name not in allowed:
            raise ManifestError(f"{field}.{name}: is not known here; {', '.join(allowed)} are allowed")
    return value


def checked(field: str, parse: Callable[[], T]) -> T:
    """What `parse` gives; its ValueError as a ManifestError that names the field."""
    try:
        return parse()
    except ValueError as error:
        raise ManifestError(f"{field}: {error}") from None
