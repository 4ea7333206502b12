"""Names that stand in more than one place: settings, addresses, ports, paths and images."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.settings import Settings
from tests.cluster.setup.images import CODE, DOCKERFILES, NAMES
from tests.manifests.rendered import OVERLAYS, ROOT, Pod, Resource, document, one, pods, render

#: Read by functions-framework and by libraries, not by `Settings`.
OTHERS = {
    *("FUNCTION_TARGET", "FUNCTION_SOURCE"),
    *("HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"),
}
#: What suits a cluster as it is. A setting that is new is either here or in a manifest.
LEFT_TO_DEFAULTS = {
    *("AWS_REGION", "AWS_SESSION_TOKEN", "MOCHI_BACKLOG_LIMIT", "MOCHI_CHECKPOINT_SECONDS", "MOCHI_HOST"),
    *("MOCHI_LEASE_SECONDS", "MOCHI_LOG_LEVEL", "MOCHI_PRESIGN_SECONDS", "MOCHI_RETENTION"),
    "PORT",  # which Knative sets
}
OURS = {"submit", "completion", "reaper", "predictor"}


class Asked(Mapping[str, str]):
    """An environment without a variable, which notes what it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> Sequence[Resource]:
    return render(request.param)


def made_secrets(resources: Sequence[Resource]) -> Mapping[str, Mapping[str, str]]:
    """What the Jobs put into the Secrets that they make: name, key, template."""
    found = {}
    for pod in pods(resources):
        (container, *_) = pod.containers
        if "functions.new_secret" in container.get("command", ()):
            name, *templates = container["args"]
            found[name] = dict(text.split("=", 1) for text in templates)
    return found


def environ_of(resources: Sequence[Resource], pod: Pod) -> Mapping[str, str]:
    """The variables that a pod's container gets; those of Secrets as a template."""
    secrets = made_secrets(resources)
    (container,) = pod.containers
    environ: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            environ |= one(resources, "ConfigMap", "app-config")["data"]
        else:
            environ |= secrets[source["secretRef"]["name"]]
    for variable in container.get("env", ()):
        if "value" in variable:
            environ[variable["name"]] = variable["value"]
        elif not (reference := variable["valueFrom"]["secretKeyRef"]).get("optional"):
            environ[variable["name"]] = secrets[reference["name"]][reference["key"]]
    return environ


def test_a_pod_names_a_config_that_is_there(resources: Sequence[Resource]) -> None:
    config = one(resources, "ConfigMap", "app-config")["metadata"]["name"]
    assert config.startswith("app-config-")  # with the hash that makes a change a new revision
    for pod in pods(resources):
        sources = [s for c in pod.containers for s in c.get("envFrom", ()) if "configMapRef" in s]
        assert {s["configMapRef"]["name"] for s in sources} <= {config}
        assert sources or pod.name not in OURS
    (volume,) = (v for p in pods(resources) for v in p.spec.get("volumes", ()) if "configMap" in v)
    assert volume["configMap"]["name"] == one(resources, "ConfigMap", "redis-config")["metadata"]["name"]


def test_every_setting_exists_and_every_other_is_left_to_its_default(resources: Sequence[Resource]) -> None:
    asked = Asked()
    Settings.from_environ(asked)
    given = {name for pod in pods(resources) if pod.name in OURS for name in environ_of(resources, pod)}
    assert given - asked.names <= OTHERS
    weights = {"MODEL_DIR", "HF_TOKEN"}  # where a Job has downloaded the model, and what it may need for that
    assert asked.names - given - LEFT_TO_DEFAULTS <= weights
    assert given.isdisjoint(LEFT_TO_DEFAULTS)


def test_our_processes_take_their_settings(resources: Sequence[Resource]) -> None:
    found = {
        p.name: Settings.from_environ(environ_of(resources, p)) for p in pods(resources) if p.name in OURS
    }
    assert found.keys() == OURS
    assert all(settings.k_sink for settings in found.values())
    assert len({(s.pool, s.pool_limit, tuple(s.queues.items())) for s in found.values()}) == 1
    assert len({s.redis_url for s in found.values()}) == 1
    for name, settings in found.items():
        assert "{password}" in settings.redis_url.replace("%7B", "{").replace("%7D", "}")
        assert (settings.aws_s3_endpoint is None) == (name == "completion")  # which has no business there


def test_addresses_lead_to_services(resources: Sequence[Resource]) -> None:
    config = one(resources, "ConfigMap", "app-config")["data"]
    endpoint = made_secrets(resources)["s3-credentials"]["AWS_S3_ENDPOINT"]
    for name, address in (("redis", config["REDIS_URL"]), ("s3", endpoint)):
        (service,) = (
            r
            for r in resources
            if (r["apiVersion"], r["kind"], r["metadata"]["name"]) == ("v1", "Service", name)
        )
        (port,) = service["spec"]["ports"]
        (pod,) = (p for p in pods(resources) if service["spec"]["selector"].items() <= p.labels.items())
        (container,) = pod.containers
        assert urlsplit(address).netloc == f"{name}.video.svc.cluster.local:{port['port']}"
        assert [p["name"] for p in container["ports"]] == [port["targetPort"]]
        assert pod.workload["spec"]["serviceName"] == service["metadata"]["name"]


def test_servers_listen_where_they_are_looked_for(resources: Sequence[Resource]) -> None:
    lines = one(resources, "ConfigMap", "redis-config")["data"]["redis.conf"].splitlines()
    redis, s3 = (next(p for p in pods(resources) if p.name == name) for name in ("redis", "s3"))
    assert f"port {redis.containers[0]['ports'][0]['containerPort']}" in lines
    assert f"-s3.port={s3.containers[0]['ports'][0]['containerPort']}" in s3.containers[0]["args"]
    mounts = {m["name"]: m["mountPath"] for m in redis.containers[0]["volumeMounts"]}
    assert redis.containers[0]["command"][-1] == f"{mounts['config']}/redis.conf"
    assert f"include {mounts['password']}/auth.conf" in lines
    assert f"dir {mounts['data']}" in lines
    assert made_secrets(resources)["redis"].keys() == {"REDIS_PASSWORD", "auth.conf"}


def test_the_object_store_takes_what_its_claim_has_room_for(resources: Sequence[Resource]) -> None:
    """SeaweedFS' default is 8 of its volumes: with those it is full, whatever the size of the disk."""
    (s3,) = (p for p in pods(resources) if p.name == "s3")
    assert "-volume.max=0" in s3.containers[0]["args"]
    # On a small one, that what is stored first does not take all of them.
    assert {"name": "WEED_MASTER_VOLUME_GROWTH_COPY_1", "value": "1"} in s3.containers[0]["env"]


def test_redis_is_set_as_that_of_one_machine(resources: Sequence[Resource], tmp_path: Path) -> None:
    from local.embedded import valkey  # here: it looks for the server

    (config,) = (Path(arg) for arg in valkey(tmp_path, 1, "password").argv if arg.endswith(".conf"))
    ours = one(resources, "ConfigMap", "redis-config")["data"]["redis.conf"].splitlines()
    where = ("bind", "port", "requirepass", "dir", "daemonize")
    theirs = [line for line in config.read_text("utf-8").splitlines() if not line.startswith(where)]
    assert set(theirs) <= set(ours)


def test_every_image_is_one_that_is_built_or_has_a_version(resources: Sequence[Resource]) -> None:
    images = {c["image"] for pod in pods(resources) for c in pod.containers}
    assert all(re.fullmatch(r"[a-z0-9./-]+:(?!latest$)[\w.-]+", image) for image in images), images


def test_the_small_overlay_names_the_images_of_the_test_cluster() -> None:
    images = {c["image"].rpartition(":")[0] for pod in pods(render("cpu")) for c in pod.containers}
    assert images == set(NAMES.values())


@pytest.mark.parametrize(("part", "users"), [("functions", 6), ("predictor", 2)])
def test_a_dockerfile_says_how_its_image_is_called(part: str, users: int) -> None:
    text = (ROOT / DOCKERFILES[part]).read_text("utf-8")
    assert f"/mochi-{part}:TAG" in text
    files = [p for p in (ROOT / "knative").rglob("*.yaml") if "overlays" not in p.parts]
    files += (ROOT / "kserve").rglob("*.yaml")
    assert sum(f"image: mochi-{part}\n" in p.read_text("utf-8") for p in files) == users


@pytest.mark.parametrize("name", ["submit", "completion", "reaper"])
def test_a_function_is_where_its_service_says(name: str) -> None:
    (container,) = document(ROOT / f"knative/functions/service-{name}.yaml")["spec"]["template"]["spec"][
        "containers"
    ]
    environ = {v["name"]: v.get("value") for v in container["env"]}
    source = Path(environ["FUNCTION_SOURCE"])
    assert "WORKDIR /app\n" in (ROOT / DOCKERFILES["functions"]).read_text("utf-8")
    file = ROOT / source.relative_to("/app")
    assert f"def {environ['FUNCTION_TARGET']}(" in file.read_text("utf-8")
    assert file.relative_to(ROOT).parts[0] in CODE["functions"]


def test_what_a_job_runs_is_in_its_image(resources: Sequence[Resource]) -> None:
    modules = [c["command"][2] for p in pods(resources) for c in p.containers if "-m" in c.get("command", ())]
    assert sorted(modules) == ["functions.make_bucket", "functions.new_secret", "functions.new_secret"]
    assert all(importlib.util.find_spec(module) for module in modules)


def test_ports_are_the_ones_that_our_processes_listen_on(resources: Sequence[Resource]) -> None:
    serve = (ROOT / "functions/serve.py").read_text("utf-8")
    assert f'"--port", type=int, default={Settings().port}' in serve
    for pod in pods(resources):
        if pod.name in OURS:
            (container,) = pod.containers
            probes = [
                container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")
            ]
            assert [p["containerPort"] for p in container["ports"]] == [Settings().port]
            assert set(probes) == {Settings().port}


def probes(pod: Pod) -> Sequence[Resource]:
    """Where a pod is probed."""
    (container,) = pod.containers
    return [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]


def test_probes_and_triggers_ask_for_paths_that_are_served(resources: Sequence[Resource]) -> None:
    asked = {pod.name: {p["path"] for p in probes(pod)} for pod in pods(resources) if pod.name in OURS}
    pool = one(resources, "InferenceService", "mochi-1")["metadata"]["name"]
    for resource in resources:
        spec = resource.get("spec", {})
        sinks = [spec.get("subscriber"), spec.get("sink"), spec.get("delivery", {}).get("deadLetterSink")]
        for sink in filter(None, sinks):
            name = "predictor" if sink["ref"]["name"] == pool else sink["ref"]["name"]
            asked[name].add(sink.get("uri", "/"))
    for name in ("submit", "completion", "reaper"):
        source = (ROOT / f"functions/{name}/api.py").read_text("utf-8")
        assert all(f'"{path}"' in source for path in asked[name]), (name, asked[name])
    assert '"/events"' in (ROOT / "inference_service/events.py").read_text("utf-8")
    assert asked["predictor"] == {"/events", "/v2/health/live", f"/v2/models/{pool}/ready"}
    rest = importlib.util.find_spec("kserve.protocol.rest.v2_endpoints")
    assert rest is not None
    assert rest.origin is not None
    served = Path(rest.origin).read_text("utf-8")
    assert '"/health/live"' in served
    assert '"/models/{model_name}/ready"' in served


def test_every_trigger_and_source_names_what_is_there(resources: Sequence[Resource]) -> None:
    there = {(r["apiVersion"], r["kind"], r["metadata"]["name"]) for r in resources}
    for resource in resources:
        for reference in references(resource):
            assert (reference["apiVersion"], reference["kind"], reference["name"]) in there


def references(node: object) -> Iterator[Resource]:
    """Every `ref` to a resource, at any depth."""
    if isinstance(node, Mapping):
        if isinstance(found := node.get("ref"), Mapping):
            yield found
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
