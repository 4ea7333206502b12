"""docs/install.md against the manifests: what it tells to apply is there, and what they need it tells."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.cluster.setup.images import DOCKERFILES
from tests.manifests.rendered import COMPONENTS, OVERLAYS, ROOT, VARIANTS, Pod, applied, one, pods, render

PAGE = (ROOT / "docs/install.md").read_text("utf-8")
#: Of what the page sets in Knative and KServe: that they work together, and with kourier. That needs no row.
OF_THE_PARTS = {
    *("ingress-class", "defaultDeploymentMode", "ingressDomain", "urlScheme"),
    *("ingressGateway", "localGateway", "localGatewayService"),
}


def test_it_names_every_overlay_and_component_and_no_other() -> None:
    named = set(re.findall(r"knative/(overlays|components)/([a-z0-9-]+)", PAGE))
    components = {("components", name) for name in COMPONENTS}
    assert ("overlays", "single-node-8xh100") in named
    assert named <= {("overlays", name) for name in OVERLAYS} | components
    assert components <= named


def test_its_example_of_what_differs_suits_the_overlay(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    changes = yaml.safe_load(example)
    resources = applied(tmp_path, "single-node-8xh100", changes)
    predictor = one(resources, "InferenceService", "mochi-1")["spec"]["predictor"]
    config = one(resources, "ConfigMap", "app-config")
    assert config["data"]["MOCHI_POOL_LIMIT"] == str(predictor["maxReplicas"]) == "2"
    accounts = [r for r in resources if r["kind"] == "ServiceAccount"]
    assert accounts
    assert all(account["imagePullSecrets"] == [{"name": "registry"}] for account in accounts)
    # A change of the settings is a new revision of who reads them.
    before = one(render("single-node-8xh100"), "ConfigMap", "app-config")["metadata"]["name"]
    assert config["metadata"]["name"] != before
    assert predictor["containers"][0]["envFrom"][0]["configMapRef"]["name"] == config["metadata"]["name"]


def test_it_gives_nodes_the_label_that_pods_look_for() -> None:
    wanted = {
        f"{name}={value}"
        for pod in pods(render("single-node-8xh100"))
        for name, value in pod.spec.get("nodeSelector", {}).items()
    }
    assert wanted == set(re.findall(r"kubectl label node \S+ (\S+)", PAGE))


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


def test_it_says_what_each_setting_is_for() -> None:
    part = PAGE.partition("\n## 2.")[0]
    keys: set[str] = set()
    for patch in re.findall(r"^set_to \S+ \S+ '(.*?)'$", part, re.DOTALL | re.MULTILINE):
        for key, value in yaml.safe_load(patch)["data"].items():  # as YAML, like kubectl
            keys |= json.loads(value).keys() if value.startswith("{") else {key.removeprefix("kubernetes.")}
    rows = [row.replace("…", "*") for row in re.findall(r"^\| `([^` ]+)` \|", part, re.MULTILINE)]
    assert {key for key in keys if not any(fnmatch(key, row) for row in rows)} == OF_THE_PARTS
    assert [row for row in rows if not any(fnmatch(key, row) for key in keys)] == []


def test_it_builds_and_pushes_the_images_that_the_overlay_names() -> None:
    (registry,) = re.findall(r"^registry=(\S+)$", PAGE, re.MULTILINE)
    named = {c["image"] for pod in pods(render("single-node-8xh100")) for c in pod.containers}
    wanted = {image for image in named if image.startswith(f"{registry}/")}
    text = PAGE.replace("$registry", registry)
    built = dict(re.findall(r"^docker build -f (\S+) -t (\S+) \.$", text, re.MULTILINE))
    assert set(built.values()) == set(re.findall(r"^docker push (\S+)$", text, re.MULTILINE)) == wanted
    parts = {file: image.rpartition(":")[0] for file, image in built.items()}
    assert parts == {file: f"{registry}/mochi-{part}" for part, file in DOCKERFILES.items()}


def test_the_hubs_token_is_where_the_download_looks_for_it() -> None:
    (weights,) = (pod for pod in pods(render("single-node-8xh100")) if pod.name == "weights")
    variables = [v["valueFrom"]["secretKeyRef"] for v in weights.containers[0]["env"] if "valueFrom" in v]
    wanted = [(reference["name"], reference["key"]) for reference in variables]
    assert wanted == re.findall(r"create secret generic (\S+) --from-literal=(\w+)=", PAGE)


def test_paths_that_it_names_are_served() -> None:
    submit = (ROOT / "functions/submit/api.py").read_text("utf-8")
    paths = re.findall(r"\$MOCHI_URL(/\w+)", PAGE) + re.findall(r"`(?:GET|POST) (/[^`?]+)", PAGE)
    assert len(paths) >= 2
    served = [path.replace("{job_id}", "{id}") for path in re.findall(r'"(/\S*)"', submit)]
    assert [path for path in paths if path not in served] == []
    # The predictor's are KServe's.
    service = one(render("single-node-8xh100"), "InferenceService", "mochi-1")["metadata"]
    host = f"{service['name']}-predictor.{service['namespace']}.svc.cluster.local"
    called = re.findall(rf"http://{re.escape(host)}/v2(/\S+)", PAGE)
    kserve = importlib.util.find_spec("kserve")
    assert kserve is not None
    (folder,) = kserve.submodule_search_locations or []
    theirs = (Path(folder) / "protocol/rest/v2_endpoints.py").read_text("utf-8")
    served = [path.replace("{model_name}", service["name"]) for path in re.findall(r'"(/\S*)"', theirs)]
    assert called
    assert [path for path in called if path not in served] == []


def test_ways_in_and_out_are_those_of_the_manifests() -> None:
    config = one(render("single-node-8xh100"), "ConfigMap", "app-config")["data"]
    port = config["MOCHI_S3_PUBLIC_ENDPOINT"].rpartition(":")[2]
    (s3,) = (r for r in render("cpu") if r["kind"] == "Service" and r["metadata"]["name"] == "s3")
    assert f"service/s3 {port}:{s3['spec']['ports'][0]['port']}" in PAGE
    assert s3["spec"]["ports"][0]["nodePort"] == int(port)
    for name in ("redis", "s3-credentials", "hf-token"):
        assert f"`{name}`" in PAGE or f"secret generic {name} " in PAGE
