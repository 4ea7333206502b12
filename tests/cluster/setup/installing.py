"""Applies an overlay with the images that were just built: in a kustomization around it, outside git."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.setup.commands import SetupError
from tests.cluster.setup.images import NAMES
from tests.cluster.setup.kube import Resource, items, kubectl

__all__ = ["apply", "generate", "images_of", "render"]


def generate(overlay: Path, folder: Path, images: Mapping[str, str]) -> None:
    """Write a kustomization into `folder`: the overlay with these images (name there → reference)."""
    folder.mkdir(parents=True, exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(overlay, folder)],
        "images": [{"name": name, **_parts(new)} for name, new in sorted(images.items())],
    }
    part = folder / "kustomization.part"
    part.write_text(yaml.safe_dump(kustomization, sort_keys=False), "utf-8")
    part.replace(folder / "kustomization.yaml")


def render(folder: Path) -> Sequence[Resource]:
    """The resources of a kustomization. Raises SetupError for an image that nothing here builds."""
    documents = [d for d in yaml.safe_load_all(kubectl("kustomize", str(folder))) if d]
    unknown = {name for d in documents for name in images_of(d)} - _known(folder)
    if unknown:
        known = ", ".join(sorted(NAMES.values()))
        raise SetupError(f"{folder}: unknown images {', '.join(sorted(unknown))}; known are {known}")
    return documents


def images_of(node: object) -> Iterator[str]:
    """Every image that a resource names."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from images_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from images_of(value)


def apply(folder: Path, documents: Sequence[Resource]) -> None:
    """Apply the kustomization in `folder`, of which these are the resources. Raises SetupError."""
    _remove_changed_jobs(documents)
    kubectl("apply", "-k", str(folder))


def _known(folder: Path) -> set[str]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    return {f"{i.get('newName', i['name'])}:{i['newTag']}" for i in kustomization["images"]}


def _remove_changed_jobs(documents: Sequence[Resource]) -> None:
    """A Job's pods cannot be changed, only made anew: those of ours may run twice."""
    wanted = {_key(d): d["spec"] for d in documents if d["kind"] == "Job"}
    for job in items("jobs", "--all-namespaces"):
        namespace, name = _key(job)
        if not _within(wanted.get((namespace, name), {}), job["spec"]):
            kubectl("delete", "job", name, "-n", namespace, "--ignore-not-found")


def _within(part: object, whole: object) -> bool:
    """Whether `whole` says all that `part` says; a cluster's resource has defaults besides."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(_within(part[key], whole.get(key)) for key in part)
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(part) == len(whole)
            and all(_within(one, other) for one, other in zip(part, whole, strict=True))
        )
    return part == whole


def _key(resource: Resource) -> tuple[str, str]:
    metadata = resource["metadata"]
    return metadata.get("namespace", "default"), metadata["name"]


def _parts(image: str) -> Mapping[str, Any]:
    """A reference `host:5000/name:tag` as kustomize writes it. Raises SetupError for one without a tag."""
    name, colon, tag = image.rpartition(":")
    if not colon or not tag or "/" in tag:
        raise SetupError(f"image {image!r}: NAME:TAG is wanted, with a tag of its own for each build")
    return {"newName": name, "newTag": tag}
