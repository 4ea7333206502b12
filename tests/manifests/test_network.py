"""The NetworkPolicies: everything is denied, and each edge that is allowed is one that somebody uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.manifests.rendered import OVERLAYS, VARIANTS, Pod, Resource, one, pods, render

DNS = "all-to-dns"
#: Edges into pods from other namespaces: policy to the ports.
FROM_OUTSIDE = {
    "functions-and-predictor-from-activator": {8012, 8112, 9090},
    "functions-and-predictor-from-autoscaler": {9090},
    "functions-and-predictor-from-gateway": {8012, 8112},
    "functions-and-predictor-from-prometheus": {8080, 9091},
}
#: The class of a Broker to the service that takes its events.
INGRESS = {"MTChannelBasedBroker": "broker-ingress", "Kafka": "kafka-broker-ingress"}


def policies(resources: Sequence[Resource]) -> dict[str, Resource]:
    return {r["metadata"]["name"]: r["spec"] for r in resources if r["kind"] == "NetworkPolicy"}


def ports(rule: Resource) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(e["key"]) in e["values"] if e["operator"] == "In" else e["key"] in labels
        for e in selector.get("matchExpressions", ())
    )


def chosen(resources: Sequence[Resource], selector: Mapping[str, Any]) -> set[str]:
    """The names of the pods that a selector means."""
    found = set()
    for pod in pods(resources):
        knatives = {"serving.knative.dev/service": pod.name} if is_knative(pod) else {}
        if selects(selector, {**pod.labels, **knatives}):
            found.add(pod.name)
    return found


def is_knative(pod: Pod) -> bool:
    return bool(pod.workload["apiVersion"].startswith("serving."))


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> Sequence[Resource]:
    return render(request.param)


def test_what_no_policy_allows_is_denied(resources: Sequence[Resource]) -> None:
    assert policies(resources)["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_policy_allows_one_edge_in_one_direction(resources: Sequence[Resource]) -> None:
    for name, spec in policies(resources).items():
        if name == "default-deny":
            continue
        (direction,) = spec["policyTypes"]
        assert ("-from-" in name) == (direction == "Ingress")
        assert ("-to-" in name) == (direction == "Egress")
        (rule,) = spec[direction.lower()]
        assert ports(rule)
        assert chosen(resources, spec["podSelector"]), f"{name} selects no pod"


def test_requests_come_through_knative_alone(resources: Sequence[Resource]) -> None:
    served = {pod.name for pod in pods(resources) if is_knative(pod)}
    assert served == {"submit", "completion", "reaper", "predictor"}
    found = policies(resources)
    for name, wanted in FROM_OUTSIDE.items():
        spec = found.pop(name)
        assert chosen(resources, spec["podSelector"]) == served
        (rule,) = spec["ingress"]
        assert ports(rule) == wanted
        assert all("namespaceSelector" in peer for peer in rule["from"])
    for spec in found.values():
        if spec["policyTypes"] == ["Ingress"]:
            assert not chosen(resources, spec["podSelector"]) & served


@pytest.mark.parametrize(("component", "ports_"), [("own-redis", {6379}), ("own-s3", {443, 9000})])
def test_a_server_of_ones_own_is_reached_wherever_it_is(component: str, ports_: set[int]) -> None:
    for overlay in OVERLAYS:
        found = policies(render(overlay, component))
        (rule,) = found[f"functions-and-predictor-to-{component.removeprefix('own-')}"]["egress"]
        assert "to" not in rule
        assert ports(rule) == ports_


@pytest.mark.parametrize(("server", "port"), [("redis", 6379), ("s3", 8333)])
def test_who_has_the_password_has_the_way_and_nobody_else(
    resources: Sequence[Resource], server: str, port: int
) -> None:
    secret = {"redis": "redis", "s3": "s3-credentials"}[server]
    users = {pod.name for pod in pods(resources) if secret in secrets_of(pod)} - {server}
    into = policies(resources)[f"{server}-from-functions-and-predictor"]
    out_of = policies(resources)[f"functions-and-predictor-to-{server}"]
    (came,), (left,) = into["ingress"], out_of["egress"]
    assert chosen(resources, into["podSelector"]) == {server}
    assert chosen(resources, came["from"][0]["podSelector"]) == users
    assert chosen(resources, out_of["podSelector"]) == users
    assert chosen(resources, left["to"][0]["podSelector"]) == {server}
    assert ports(came) == ports(left) == {port}
    (own,) = (pod for pod in pods(resources) if pod.name == server)
    assert [p["containerPort"] for p in own.containers[0]["ports"]] == [port]


def secrets_of(pod: Pod) -> set[str]:
    """The Secrets whose values a pod gets."""
    sources = [s for c in pod.containers for s in c.get("envFrom", ())]
    variables = [v["valueFrom"] for c in pod.containers for v in c.get("env", ()) if "valueFrom" in v]
    return {s["secretRef"]["name"] for s in sources if "secretRef" in s} | {
        v["secretKeyRef"]["name"] for v in variables if "secretKeyRef" in v
    }


def test_who_publishes_reaches_the_broker(resources: Sequence[Resource]) -> None:
    spec = policies(resources)["functions-and-predictor-to-broker"]
    assert chosen(resources, spec["podSelector"]) == {"submit", "completion", "reaper", "predictor"}
    (rule,) = spec["egress"]
    sink = urlsplit(one(resources, "ConfigMap", "app-config")["data"]["K_SINK"])
    assert sink.hostname is not None
    namespace = rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert sink.hostname.split(".")[1] == namespace
    assert sink.path == "/video/default"


@pytest.mark.parametrize(("overlay", "component"), VARIANTS)
def test_the_broker_is_of_the_class_whose_address_is_published_to(overlay: str, component: str) -> None:
    """A cluster's default class may be another: its Broker would be ready, and no event would reach it."""
    resources = render(overlay, component)
    notes = one(resources, "Broker", "default")["metadata"]["annotations"]
    sink = urlsplit(one(resources, "ConfigMap", "app-config")["data"]["K_SINK"])
    service = INGRESS[notes["eventing.knative.dev/broker.class"]]
    assert sink.netloc == f"{service}.knative-eventing.svc.cluster.local"


def test_all_pods_ask_the_dns(resources: Sequence[Resource]) -> None:
    spec = policies(resources)[DNS]
    assert spec["podSelector"] == {}
    (rule,) = spec["egress"]
    pods_, cache = rule["to"]
    assert pods_ == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    # Where a node has a cache, pods ask it and not the one of kube-system.
    node = ip_network(cache["ipBlock"]["cidr"])
    assert all(ip_address(own) in node for own in ("169.254.20.10", "169.254.25.10"))
    assert node.is_link_local
    assert {(p["protocol"], p["port"]) for p in rule["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_who_makes_a_secret_asks_the_api_and_who_downloads_the_hub(resources: Sequence[Resource]) -> None:
    found = policies(resources)
    makers = found["secret-makers-to-api-server"]
    assert chosen(resources, makers["podSelector"]) == {"redis-password", "s3-credentials"}
    assert ports(makers["egress"][0]) == {443, 6443, 8443, 16443}  # kubeadm's and k3s', minikube's, MicroK8s'
    loaders = found.get("weights-to-hub")
    wanted = {"weights"} & {pod.name for pod in pods(resources)}
    assert (chosen(resources, loaders["podSelector"]) if loaders else set()) == wanted
