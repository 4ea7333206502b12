"""What every pod of every overlay is, may do and may use. The cluster's own word is in `tests/cluster/`."""

from __future__ import annotations

import re

import pytest

from tests.manifests.rendered import OVERLAYS, VARIANTS, Pod, Resource, one, pods, render

SIDECAR = "queue.sidecar.serving.knative.dev"
#: Workloads that ask the cluster's API: each creates one Secret.
CALLERS = {"redis-password", "s3-credentials"}


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(filter(None, variant)))
def every_pod(request: pytest.FixtureRequest) -> list[Pod]:
    """The pods of an overlay, alone and with each component."""
    return list(pods(render(*request.param)))


def test_it_is_as_restricted_as_pods_get(every_pod: list[Pod]) -> None:
    for pod in every_pod:
        assert not pod.spec.get("hostNetwork", pod.spec.get("hostPID", pod.spec.get("hostIPC")))
        for container in pod.containers:
            own = container["securityContext"]
            both = {**pod.spec.get("securityContext", {}), **own}
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert both["runAsNonRoot"] is True
            assert both["runAsUser"] == 65532
            assert both["seccompProfile"] == {"type": "RuntimeDefault"}


def test_it_says_what_it_needs_and_what_it_may_take(every_pod: list[Pod]) -> None:
    for pod in every_pod:
        for container in pod.containers:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            for name in ("cpu", "memory"):
                assert 0 < quantity(requests[name]) <= quantity(limits[name])
        if pod.workload["apiVersion"].startswith("serving."):
            for name in ("cpu", "memory"):
                request = pod.annotations[f"{SIDECAR}/{name}-resource-request"]
                assert 0 < quantity(request) <= quantity(pod.annotations[f"{SIDECAR}/{name}-resource-limit"])


def test_it_writes_to_volumes_alone(every_pod: list[Pod]) -> None:
    for pod in every_pod:
        volumes = {v["name"]: v for v in pod.spec.get("volumes", ())}
        templates = pod.workload["spec"].get("volumeClaimTemplates", ())
        known = {*volumes, *(t["metadata"]["name"] for t in templates)}
        mounted = [m for c in pod.containers for m in c.get("volumeMounts", ())]
        assert {m["name"] for m in mounted} == known
        for name, volume in volumes.items():
            assert volume.keys() <= {"name", "emptyDir", "configMap", "secret", "persistentVolumeClaim"}, name
            if "emptyDir" in volume:
                assert quantity(volume["emptyDir"]["sizeLimit"]) > 0
        folders = [m["mountPath"] for m in mounted if not m.get("readOnly")]
        for container in pod.containers:
            for variable in container.get("env", ()):
                if variable["name"] in ("HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
                    assert any(f"{variable['value']}/".startswith(f"{folder}/") for folder in folders)


def test_who_shares_a_volume_may_run_on_the_same_nodes(every_pod: list[Pod]) -> None:
    """A volume of one node is where its first pod was, and there the others must be able to go."""
    places: dict[str, object] = {}
    for pod in every_pod:
        for volume in pod.spec.get("volumes", ()):
            if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
                place = (pod.spec.get("nodeSelector"), pod.spec.get("tolerations"))
                assert places.setdefault(claim, place) == place, f"{pod.name}: {claim}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_has_an_account_of_its_own_and_a_token_only_where_it_needs_one(overlay: str) -> None:
    resources = render(overlay)
    for pod in pods(resources):
        account = one(resources, "ServiceAccount", pod.spec["serviceAccountName"])
        assert account["metadata"]["name"] == pod.name
        token = pod.spec.get("automountServiceAccountToken", account["automountServiceAccountToken"])
        assert token is (pod.name in CALLERS)
        assert pod.spec["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_is_shared_or_idle(overlay: str) -> None:
    resources = render(overlay)
    accounts = [r["metadata"]["name"] for r in resources if r["kind"] == "ServiceAccount"]
    assert sorted(accounts) == sorted(pod.spec["serviceAccountName"] for pod in pods(resources))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rights_are_to_create_a_secret_and_no_other(overlay: str) -> None:
    resources = render(overlay)
    roles = {r["metadata"]["name"]: r["rules"] for r in resources if r["kind"] == "Role"}
    create = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    assert roles == {name: [create] for name in CALLERS}
    bindings = [r for r in resources if r["kind"] == "RoleBinding"]
    assert {b["roleRef"]["name"]: [s["name"] for s in b["subjects"]] for b in bindings} == {
        name: [name] for name in CALLERS
    }
    assert not [r for r in resources if r["kind"] == "ClusterRoleBinding"]
    (cluster_role,) = (r for r in resources if r["kind"] == "ClusterRole")
    assert cluster_role["metadata"]["labels"]["duck.knative.dev/addressable"] == "true"
    assert {verb for rule in cluster_role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_stays_has_probes_and_a_budget(overlay: str) -> None:
    resources = render(overlay)
    staying = [pod for pod in pods(resources) if pod.workload["kind"] != "Job"]
    for pod in staying:
        (container,) = pod.containers
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    budgets = [r["spec"] for r in resources if r["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == len(staying)
    for budget in budgets:
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
        labels = budget["selector"]["matchLabels"].items()
        assert len([p for p in staying if labels <= with_knatives(p).items()]) == 1


def with_knatives(pod: Pod) -> Resource:
    """A pod's labels, with the one that Knative puts on those of its Services."""
    knative = pod.workload["apiVersion"].startswith("serving.knative.dev")
    return {**pod.labels, **({"serving.knative.dev/service": pod.name} if knative else {})}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_admits_no_other_pods(overlay: str) -> None:
    labels = one(render(overlay), "Namespace", "video")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_everything_is_labelled_and_in_the_namespace(overlay: str, component: str) -> None:
    for resource in render(overlay, component):
        labels = resource["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"]
        assert labels["app.kubernetes.io/part-of"] == "mochi"
        if resource["kind"] not in ("Namespace", "ClusterRole", "ClusterDomainClaim"):
            assert resource["metadata"]["namespace"] == "video"


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    ("component", "ours"),
    [
        ("own-redis", {"redis", "redis-password", "redis-from-functions-and-predictor"}),
        ("own-s3", {"s3", "s3-credentials", "s3-from-functions-and-predictor"}),
    ],
)
def test_of_a_server_that_is_ones_own_nothing_of_ours_is_left(
    overlay: str, component: str, ours: set[str]
) -> None:
    """Nor of the Job that draws its password, which may make Secrets."""
    with_ours, with_own = (
        {(name_of(r), r["kind"]) for r in render(overlay, which)} for which in ("", component)
    )
    assert ours <= {name for name, _ in with_ours}
    assert {(name, kind) for name, kind in with_own if name in ours} == set()
    assert {name for name, _ in with_ours - with_own} == ours


def name_of(resource: Resource) -> str:
    """What its label says it is."""
    return str(resource["metadata"]["labels"]["app.kubernetes.io/name"])


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_no_secret_is_among_the_manifests(overlay: str, component: str) -> None:
    assert [r for r in render(overlay, component) if r["kind"] == "Secret"] == []


def test_the_small_overlay_fits_on_two_cores() -> None:
    asked = 0.0
    for pod in pods(render("cpu")):
        most = pod.workload["spec"].get("predictor", {}).get("maxReplicas", 1)
        own = sum(quantity(c["resources"]["requests"]["cpu"]) for c in pod.containers)
        asked += most * (own + quantity(pod.annotations.get(f"{SIDECAR}/cpu-resource-request", "0")))
    assert asked < 1  # Knative, KServe and what else runs there have the other core


def quantity(text: str) -> float:
    """A quantity of Kubernetes as a number."""
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", text)
    assert match, text
    return float(match[1]) * {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[match[2]]
