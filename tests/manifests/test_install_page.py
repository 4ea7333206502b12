"""docs/install.md against the manifests: what it tells to apply is there, and what they need it tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.manifests.rendered import COMPONENTS, OVERLAYS, ROOT, VARIANTS, Pod, one, pods, render

PAGE = (ROOT / "docs/install.md").read_text("utf-8")


def test_it_names_every_overlay_and_component_and_no_other() -> None:
    named = set(re.findall(r"knative/(overlays|components)/([a-z0-9-]+)", PAGE))
    components = {("components", name) for name in COMPONENTS}
    assert ("overlays", "single-node-8xh100") in named
    assert named <= {("overlays", name) for name in OVERLAYS} | components
    assert components <= named


def features_of(pod: Pod) -> Iterator[str]:
    """The flags of config-features without which Knative refuses a pod."""
    fields = {
        "nodeSelector": "nodeselector",
        "tolerations": "tolerations",
        "securityContext": "securitycontext",
    }
    yield from (flag for field, flag in fields.items() if field in pod.spec)
    claimed = {v["name"] for v in pod.spec.get("volumes", ()) if "persistentVolumeClaim" in v}
    if claimed:
        yield "persistent-volume-claim"
    mounts = [m for c in pod.containers for m in c.get("volumeMounts", ()) if m["name"] in claimed]
    if any(not m.get("readOnly") for m in mounts):
        yield "persistent-volume-write"
    others = {"affinity", "topologySpreadConstraints", "runtimeClassName", "initContainers", "hostAliases"}
    assert not others & pod.spec.keys()


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_it_tells_every_flag_that_the_manifests_need(overlay: str, component: str) -> None:
    needed: set[str] = set()
    for pod in pods(render(overlay, component)):
        if pod.workload["apiVersion"].startswith("serving."):
            needed.update(features_of(pod))
    told = set(re.findall(r'"kubernetes\.podspec-([a-z-]+)": "enabled"', PAGE))
    assert needed <= told
    if (overlay, component) == ("single-node-8xh100", ""):
        assert needed == told


def test_ways_in_and_out_are_those_of_the_manifests() -> None:
    config = one(render("single-node-8xh100"), "ConfigMap", "app-config")["data"]
    port = config["MOCHI_S3_PUBLIC_ENDPOINT"].rpartition(":")[2]
    (s3,) = (r for r in render("cpu") if r["kind"] == "Service" and r["metadata"]["name"] == "s3")
    assert f"service/s3 {port}:{s3['spec']['ports'][0]['port']}" in PAGE
    assert s3["spec"]["ports"][0]["nodePort"] == int(port)
    for name in ("redis", "s3-credentials", "hf-token"):
        assert f"`{name}`" in PAGE or f"secret generic {name} " in PAGE
