"""Waits until what was applied is ready; where it is not in time, says what is not, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from tests.cluster.setup.commands import SetupError, output, say
from tests.cluster.setup.kube import Resource, items

__all__ = ["Unready", "unready", "wait"]

#: Kinds that say when they are ready, as kubectl asks for them.
_SAY_READY = {
    "InferenceService": "inferenceservices.serving.kserve.io",
    "Broker": "brokers.eventing.knative.dev",
    "Trigger": "triggers.eventing.knative.dev",
    "PingSource": "pingsources.sources.knative.dev",
    "DomainMapping": "domainmappings.serving.knative.dev",
}
_KNATIVE_SERVICES = "services.serving.knative.dev"
_EVENTS = 12  # shown of a namespace
_LOG_LINES = 8  # shown of a container that ends again and again

#: A resource, and why it is not ready.
Unready = tuple[str, str]


def wait(documents: Sequence[Resource], seconds: float) -> None:
    """Wait until every resource is ready. Raises SetupError after `seconds`, with a report."""
    deadline = time.monotonic() + seconds
    said = -1
    while missing := unready(documents):
        if time.monotonic() > deadline:
            raise SetupError("\n".join([f"not ready after {seconds:.0f} s:", *_report(documents, missing)]))
        if len(missing) != said:
            said = len(missing)
            names = [name for name, _ in missing]
            say(
                f"waiting for {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"
            )
        time.sleep(2)


def unready(documents: Sequence[Resource]) -> Sequence[Unready]:
    """What is not ready yet, with its reason. Resources of which none is asked count as ready."""
    kinds = {query for d in documents if (query := _query(d))}
    there = {_key(r): r for query in sorted(kinds) for r in items(query, "--all-namespaces")}
    asked = [d for d in documents if _query(d)]
    found = ((f"{d['kind'].lower()}/{d['metadata']['name']}", _reason(d, there.get(_key(d)))) for d in asked)
    return [(name, reason) for name, reason in found if reason]


def _query(document: Resource) -> str | None:
    kind = document["kind"]
    if kind == "Service" and document["apiVersion"].startswith("serving.knative.dev/"):
        return _KNATIVE_SERVICES
    return {"StatefulSet": "statefulsets", "Job": "jobs", **_SAY_READY}.get(kind)


def _reason(document: Resource, there: Resource | None) -> str:
    """Why it is not ready; empty where it is."""
    if there is None:
        return (
            "" if document["kind"] == "Job" else "is not there"
        )  # a Job that succeeded is removed after a while
    status = there.get("status", {})
    if status.get("observedGeneration", there["metadata"].get("generation")) != there["metadata"].get(
        "generation"
    ):
        return "its controller has not seen the change yet"
    if document["kind"] == "StatefulSet":
        return _replicas(there["spec"].get("replicas", 1), status)
    wanted = "Complete" if document["kind"] == "Job" else "Ready"
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    ready = conditions.get(wanted, {})
    if ready.get("status") == "True":
        return ""
    words = [str(ready[name]) for name in ("reason", "message") if ready.get(name)]
    return ": ".join(words) or f"does not say {wanted}"


def _replicas(wanted: int, status: Resource) -> str:
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready >= wanted and updated >= wanted:
        return ""
    return f"{ready} of {wanted} pods are ready, {updated} of them new"


def _report(documents: Sequence[Resource], missing: Sequence[Unready]) -> Iterator[str]:
    yield from (f"  {name}: {reason}" for name, reason in missing)
    namespaces = sorted({_key(d)[1] for d in documents if _query(d)})
    for namespace in namespaces:
        for pod in items("pods", "-n", namespace):
            yield from _pod(namespace, pod)
        warnings = items("events", "-n", namespace, "--field-selector", "type=Warning")
        for event in sorted(warnings, key=_seen)[-_EVENTS:]:
            about = event["involvedObject"]
            yield f"  event of {about['kind'].lower()}/{about['name']}: {event.get('message', '').strip()}"


def _pod(namespace: str, pod: Resource) -> Iterator[str]:
    """Lines about a pod that is not well; none about one that is, or is going, or has done its work."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("phase") == "Succeeded" or "deletionTimestamp" in pod["metadata"]:
        return
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield f"  pod/{name}: {condition.get('reason')}: {condition.get('message')}"
    for container in status.get("containerStatuses", ()):
        if container["ready"]:
            continue
        states: Mapping[str, Resource] = container["state"]
        state, details = next(iter(states.items()), ("unknown", {}))
        words = [str(details[key]) for key in ("reason", "message") if details.get(key)]
        yield f"  pod/{name}, container {container['name']}: not ready, {': '.join([state, *words])}"
        if container.get("restartCount") or state == "terminated":
            yield from _log(namespace, name, container["name"])


def _log(namespace: str, pod: str, container: str) -> Iterator[str]:
    try:
        text = output("kubectl", "logs", "-n", namespace, pod, "-c", container, f"--tail={_LOG_LINES}")
    except SetupError:
        return  # it may be gone by now
    yield from (f"    | {line}" for line in text.splitlines())


def _seen(event: Resource) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _key(resource: Resource) -> tuple[str, str, str]:
    metadata = resource["metadata"]
    api = resource["apiVersion"].partition("/")[0]
    return f"{api}/{resource['kind']}", metadata.get("namespace", "default"), metadata["name"]
