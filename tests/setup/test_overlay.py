"""The kustomization that brings the built images in, as kustomize would read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cluster.setup.commands import SetupError
from tests.cluster.setup.images import NAMES
from tests.cluster.setup.installing import generate, images_of

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "knative/overlays/cpu"


def test_it_names_the_overlay_and_a_tag_for_each_of_its_images(tmp_path: Path) -> None:
    generate(OVERLAY, tmp_path / "overlay", {name: f"registry:5000/{name}:1.2" for name in NAMES.values()})
    written = yaml.safe_load((tmp_path / "overlay/kustomization.yaml").read_text("utf-8"))
    (resource,) = written["resources"]
    assert (tmp_path / "overlay" / resource).resolve() == OVERLAY
    assert [i["name"] for i in written["images"]] == sorted(NAMES.values())
    assert {i["newTag"] for i in written["images"]} == {"1.2"}
    assert written["images"][0]["newName"] == f"registry:5000/{written['images'][0]['name']}"
    theirs = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text("utf-8"))["images"]
    assert {i["newName"] for i in theirs} == set(NAMES.values())


@pytest.mark.parametrize("image", ["name", "registry:5000/name", "name:"])
def test_an_image_without_a_tag_is_refused(tmp_path: Path, image: str) -> None:
    with pytest.raises(SetupError, match="NAME:TAG"):
        generate(OVERLAY, tmp_path, {"dev.local/s3": image})


def test_images_are_found_at_any_depth() -> None:
    pod = {"initContainers": [{"image": "a:1"}], "containers": [{"image": "b:2", "env": [{"name": "image"}]}]}
    assert list(images_of({"spec": {"template": {"spec": pod}}})) == ["a:1", "b:2"]
