"""What `kubectl` says of the installed product, and what its real pods may do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mochi import Client
from tests.cluster.kubectl import Kubectl, Resource, condition
from tests.cluster.system import BROKER, NAMESPACE, PREDICTOR
from tests.cluster.waiting import until

pytestmark = [pytest.mark.core, pytest.mark.timeout(600)]

READY = 60.0
SERVICES = ("submit", "completion", "reaper")
#: What those of our pods that stay are called, by the label that NetworkPolicies choose them by.
STAYING = {"redis", "s3", "predictor", *SERVICES}

#: Prints what the kernel lets the process do that is asked: its user, and whether it may write to its root.
LOOK = """
import json, os
try:
    open("/written", "w").close()
    refused = ""
except OSError as error:
    refused = error.strerror
print(json.dumps({"user": os.getuid(), "refused": refused}))
"""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("inferenceservice", PREDICTOR),
        *(("ksvc", name) for name in (*SERVICES, f"{PREDICTOR}-predictor")),
        ("broker", BROKER),
    ],
)
def test_it_is_ready_and_has_an_address(kubectl: Kubectl, kind: str, name: str) -> None:
    def ready() -> Resource | None:
        resource = kubectl.get(kind, name)
        return resource if condition(resource) == "True" else None

    status = until(f"{kind}/{name} is ready", ready, READY)["status"]
    assert (status.get("url") or status["address"]["url"]).startswith("http")


@pytest.mark.parametrize("kind", ["trigger", "pingsource"])
def test_all_of_them_are_ready(kubectl: Kubectl, kind: str) -> None:
    names = [resource["metadata"]["name"] for resource in kubectl.list(kind)]
    assert names

    def unready() -> list[str]:
        return [r["metadata"]["name"] for r in kubectl.list(kind) if condition(r) != "True"]

    until(f"every {kind} of {names} is ready", lambda: not unready(), READY)


def test_what_is_stored_is_kept_by_stateful_sets(kubectl: Kubectl) -> None:
    for name in ("redis", "s3"):
        status = kubectl.get("statefulset", name)["status"]
        assert status.get("readyReplicas") == 1, status


def test_everything_says_what_it_is(kubectl: Kubectl) -> None:
    kinds = "ksvc,inferenceservice,broker,trigger,pingsource,statefulset,job,role,networkpolicy,pdb,pvc"
    unnamed = [
        f"{resource['kind']}/{resource['metadata']['name']}"
        for resource in kubectl.list(kinds)
        if "app.kubernetes.io/name" not in resource["metadata"].get("labels", {})
    ]
    assert unnamed == []


@pytest.mark.usefixtures("warm")
def test_every_real_pod_runs_under_restricted(kubectl: Kubectl) -> None:
    labels = kubectl.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = kubectl.list("pod")
    assert {name_of(pod) for pod in pods} >= STAYING
    assert [fault for pod in pods for fault in faults_of(pod)] == []


def name_of(pod: Resource) -> str:
    """What its label says it is."""
    return str(pod["metadata"]["labels"].get("app.kubernetes.io/name", ""))


def faults_of(pod: Resource) -> Iterator[str]:
    """In what a pod, as it was admitted, is not as restricted as it should be; queue-proxy too."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    whole = spec.get("securityContext", {})
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        own = container.get("securityContext", {})
        both = {**whole, **own}
        wanted = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "no user 0": both.get("runAsUser") != 0,
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"]
            and not own["capabilities"].get("add"),
            "seccompProfile": both.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "requests and limits": all(
                container.get("resources", {}).get(kind, {}).keys() >= {"cpu", "memory"}
                for kind in ("requests", "limits")
            ),
        }
        for what, holds in wanted.items():
            if not holds:
                yield f"{name}/{container['name']}: {what}"


@pytest.mark.usefixtures("warm")
def test_pods_have_the_labels_that_network_policies_go_by(kubectl: Kubectl) -> None:
    """A test cluster that enforces none would not show that one chooses pods by a label that they lack."""
    pods = kubectl.list("pod")
    assert {name_of(pod) for pod in pods} >= STAYING
    of_knative = {name_of(pod) for pod in pods if "serving.knative.dev/service" in pod["metadata"]["labels"]}
    assert of_knative == {"predictor", *SERVICES}
    peers = {peer for policy in kubectl.list("networkpolicy") for peer in peers_of(policy["spec"])}
    assert {namespace for namespace, _ in peers} >= {"knative-serving", "knative-eventing"}
    assert [peer for peer in peers if not Kubectl(peer[0]).list("pod", peer[1])] == []


def peers_of(policy: Resource) -> Iterator[tuple[str, str]]:
    """The pods of other namespaces that a policy names: their namespace, and their labels as a selector."""
    for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            if peer.keys() == {"namespaceSelector", "podSelector"}:
                labels = peer["podSelector"]["matchLabels"].items()
                namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                yield namespace, ",".join(f"{name}={value}" for name, value in labels)


@pytest.mark.usefixtures("warm")
def test_the_kernel_refuses_what_the_pods_do_not_need(client: Client, kubectl: Kubectl) -> None:
    client.page(limit=1)  # submit has a pod now
    seen = 0
    for pod in kubectl.list("pod"):
        for container in pod["spec"]["containers"]:
            if container["name"] in ("kserve-container", "user-container") and running(pod):
                looked = json.loads(kubectl.python(pod["metadata"]["name"], container["name"], LOOK))
                assert looked["user"] != 0
                assert looked["refused"] in ("Read-only file system", "Permission denied"), looked
                seen += 1
    assert seen >= 2  # the predictor and a function


def running(pod: Resource) -> bool:
    return condition(pod) == "True" and "deletionTimestamp" not in pod["metadata"]
