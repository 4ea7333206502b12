"""What only works together: pods and credits, budgets and timeouts; and who is seen from outside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jobs.settings import Settings
from local.manifests import load
from tests.manifests.rendered import OVERLAYS, ROOT, Resource, one, render

#: Seconds from a pod's deletion to its SIGTERM: so long queue-proxy waits for requests on their way.
QUEUE_PROXY_DRAIN = 30
CLUSTER_LOCAL = {"networking.knative.dev/visibility": "cluster-local"}


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> Sequence[Resource]:
    return render(request.param)


@pytest.fixture
def predictor(resources: Sequence[Resource]) -> Resource:
    spec: Resource = one(resources, "InferenceService", "mochi-1")["spec"]["predictor"]
    return spec


@pytest.fixture
def settings(resources: Sequence[Resource], predictor: Resource) -> Settings:
    (container,) = predictor["containers"]
    environ = dict(one(resources, "ConfigMap", "app-config")["data"])
    environ |= {v["name"]: v["value"] for v in container["env"] if "value" in v}
    return Settings.from_environ(environ)


def test_a_pool_has_a_credit_for_each_pod(predictor: Resource, settings: Settings) -> None:
    assert settings.pool_limit == predictor["maxReplicas"] * predictor["containerConcurrency"]
    assert settings.pool == "mochi-1"
    assert dict(settings.queues) == Settings().queues


def test_one_event_is_one_pod(resources: Sequence[Resource], predictor: Resource) -> None:
    annotations = one(resources, "InferenceService", "mochi-1")["metadata"]["annotations"]
    assert (predictor["scaleMetric"], predictor["scaleTarget"], predictor["containerConcurrency"]) == (
        *("concurrency", 1, 1),
    )
    assert predictor["minReplicas"] == 0
    assert annotations["serving.kserve.io/deploymentMode"] == "Knative"
    knative = {k.rpartition("/")[2]: v for k, v in annotations.items() if k.startswith("autoscaling.")}
    assert knative["target-utilization-percentage"] == "100"
    assert knative["target-burst-capacity"] == "-1"
    assert knative["initial-scale"] == "0"


def test_a_pod_has_the_time_that_its_weights_take(
    resources: Sequence[Resource], predictor: Resource, settings: Settings
) -> None:
    """Knative gives up on a revision after a deadline, 10 minutes by default; the kubelet goes by probes."""
    annotations = one(resources, "InferenceService", "mochi-1")["metadata"]["annotations"]
    deadline = annotations["serving.knative.dev/progress-deadline"]
    assert int(deadline.removesuffix("s")) >= max(1800, settings.pool_grace_seconds)
    (container,) = predictor["containers"]
    kinds = ("startup", "readiness", "liveness")
    asked = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds}
    # Not to be ready does a pod no harm while it loads; not to be live, or up, would end it.
    assert [kind for kind, path in asked.items() if "/models/" in path] == ["readiness"]


def test_its_processes_share_memory(predictor: Resource) -> None:
    """A container's own /dev/shm has 64 MiB, and torch's workers end with a bus error where that is full."""
    (container,) = predictor["containers"]
    (name,) = (m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm")
    (volume,) = (v for v in predictor["volumes"] if v["name"] == name)
    assert volume["emptyDir"]["medium"] == "Memory"


def test_a_slice_ends_before_its_request_does_and_a_pod_after_its_work(
    resources: Sequence[Resource], predictor: Resource, settings: Settings
) -> None:
    assert settings.slice_seconds < predictor["timeout"]
    assert QUEUE_PROXY_DRAIN + settings.grace_seconds < predictor["timeout"]
    triggers = [t for t in load(ROOT / "knative").triggers if t.subscriber.ref == "InferenceService/mochi-1"]
    assert len(triggers) == len(settings.queues)
    assert all((t.delivery.timeout or 0) > predictor["timeout"] for t in triggers)
    # A function has longer than the Broker waits for it.
    broker = load(ROOT / "knative").brokers[0].delivery.timeout
    for name in ("submit", "completion", "reaper"):
        assert knative(resources, name)["spec"]["template"]["spec"]["timeoutSeconds"] > (broker or 0)


def knative(resources: Sequence[Resource], name: str) -> Resource:
    named = [r for r in resources if r["metadata"]["name"] == name]
    (found,) = (r for r in named if r["apiVersion"] == "serving.knative.dev/v1")
    return found


def test_no_gpu_waits_for_a_function_to_start(resources: Sequence[Resource]) -> None:
    for name in ("completion", "reaper"):  # the one admits the next job, the other finds what was lost
        annotations = knative(resources, name)["spec"]["template"]["metadata"]["annotations"]
        assert annotations["autoscaling.knative.dev/min-scale"] == "1"


def test_only_submit_is_seen_from_outside(resources: Sequence[Resource]) -> None:
    for name in ("completion", "reaper"):
        assert knative(resources, name)["metadata"]["labels"].items() >= CLUSTER_LOCAL.items()
    labels = one(resources, "InferenceService", "mochi-1")["metadata"]["labels"]
    assert labels.items() >= CLUSTER_LOCAL.items()
    assert "networking.knative.dev/visibility" not in knative(resources, "submit")["metadata"]["labels"]
    (mapping,) = (r for r in resources if r["kind"] == "DomainMapping")
    assert mapping["spec"]["ref"]["name"] == "submit"


def test_a_job_is_gone_before_its_next_version_comes(resources: Sequence[Resource]) -> None:
    jobs = [r["spec"] for r in resources if r["kind"] == "Job"]
    assert jobs
    for spec in jobs:
        assert spec["ttlSecondsAfterFinished"] <= 60
        assert spec["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_the_gpu_overlay_asks_for_one_gpu_a_pod() -> None:
    predictor = one(render("single-node-8xh100"), "InferenceService", "mochi-1")["spec"]["predictor"]
    (container,) = predictor["containers"]
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["nvidia.com/gpu"] == "1"
    assert predictor["maxReplicas"] == 8
    assert predictor["nodeSelector"]
    assert {t["key"] for t in predictor["tolerations"]} == {"nvidia.com/gpu"}
    claim = one(render("single-node-8xh100"), "PersistentVolumeClaim", "video-scratch")
    assert claim["spec"]["resources"]["requests"]["storage"] == "500Gi"


def test_the_small_overlay_asks_for_no_gpu_and_no_weights() -> None:
    resources = render("cpu")
    predictor = one(resources, "InferenceService", "mochi-1")["spec"]["predictor"]
    assert "nvidia.com" not in str(predictor)
    assert "weights" not in str(resources)
    assert one(resources, "ConfigMap", "app-config")["data"]["MODEL_NAME"] == "tiny-mochi"
