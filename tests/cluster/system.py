"""The product on the cluster: its client through the gateway, its predictor's pods, its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from jobs.settings import Settings
from mochi import Client, Event, Job, Retry
from tests.cluster.kubectl import Kubectl, Resource, condition, pod_is_living
from tests.cluster.waiting import until

__all__ = ["BROKER", "NAMESPACE", "PREDICTOR", "System", "step_of"]

NAMESPACE, PREDICTOR, BROKER = "video", "mochi-1", "default"

#: A rollout of the predictor starts no pod: it is a matter of the controllers.
_ROLLOUT = 120.0


@dataclass(frozen=True)
class System:
    """The installed product, as its users and its operators reach it."""

    kubectl: Kubectl
    url: str  # submit, through the cluster's gateway

    def client(self) -> Client:
        """A client that outlasts a restart of what it talks to."""
        return Client(self.url, retry=Retry(attempts=12, reconnects=60), timeout=60)

    @contextmanager
    def broker(self) -> Iterator[str]:
        """The Broker's address, from this machine."""
        address = urlsplit(self.kubectl.get("broker", BROKER)["status"]["address"]["url"])
        assert address.hostname is not None
        service, namespace, *_ = address.hostname.split(".")
        with Kubectl(namespace).forward(f"service/{service}", address.port or 80) as port:
            yield f"http://127.0.0.1:{port}{address.path}"

    # The predictor

    def pods(self) -> Sequence[Resource]:
        """The predictor's pods, those that are going too, oldest first."""
        pods = self.kubectl.list("pod", f"serving.kserve.io/inferenceservice={PREDICTOR}")
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def living(self) -> Sequence[str]:
        """The names of its pods that are not going."""
        return [str(pod["metadata"]["name"]) for pod in self.pods() if pod_is_living(pod)]

    def ready(self) -> Sequence[str]:
        """The names of those of them that take events."""
        pods = (pod for pod in self.pods() if pod_is_living(pod) and condition(pod) == "True")
        return [str(pod["metadata"]["name"]) for pod in pods]

    def no_pods(self, seconds: float) -> None:
        """Wait until it has none."""
        until("the predictor has no pod", lambda: not self.pods(), seconds, every=2)

    def revision(self) -> str:
        """Its revision that gets all requests; empty while that is not settled."""
        service = self.kubectl.get("ksvc", f"{PREDICTOR}-predictor")
        status = service["status"]
        newest = str(status.get("latestReadyRevisionName", ""))
        settled = condition(service) == "True" and newest == status.get("latestCreatedRevisionName")
        return newest if settled else ""

    def settings(self) -> Settings:
        """Those of the predictor, as its container gets them; secrets are left out."""
        container = self._container()
        environ: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                environ |= self.kubectl.get("configmap", source["configMapRef"]["name"]).get("data", {})
        environ |= {entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry}
        return Settings.from_environ(environ)

    @contextmanager
    def revised(self, environ: Mapping[str, str], scaling: Mapping[str, str] | None = None) -> Iterator[str]:
        """A revision of the predictor with other settings, while the block runs; its name.

        `scaling`: what the autoscaler is told, by the last word of its annotations. Afterwards there is one
        more revision, with what was there before.
        """
        env = self._container().get("env", [])
        notes = self.kubectl.get("inferenceservice", PREDICTOR)["metadata"]["annotations"]
        other_env = [entry for entry in env if entry["name"] not in environ]
        other_env += [{"name": name, "value": value} for name, value in environ.items()]
        scaling = {f"autoscaling.knative.dev/{name}": value for name, value in (scaling or {}).items()}
        try:
            yield self._roll_out(other_env, {**notes, **scaling})
        finally:
            self._roll_out(env, notes)

    def _roll_out(self, env: Sequence[Resource], annotations: Resource) -> str:
        old = until("the predictor's revision is settled", self.revision, _ROLLOUT)
        changes = {"/spec/predictor/containers/0/env": list(env), "/metadata/annotations": annotations}
        patch = [{"op": "add", "path": path, "value": value} for path, value in changes.items()]
        before = self._generation()
        self.kubectl.patch("inferenceservice", PREDICTOR, patch)
        if self._generation() == before:
            return old  # somebody has applied the manifests meanwhile

        def new() -> str:
            revision = self.revision()
            return revision if revision != old else ""

        return until("the predictor's new revision gets the requests", new, _ROLLOUT)

    def _generation(self) -> int:
        generation: int = self.kubectl.get("inferenceservice", PREDICTOR)["metadata"]["generation"]
        return generation

    def _container(self) -> Resource:
        containers: list[Resource] = self.kubectl.get("inferenceservice", PREDICTOR)["spec"]["predictor"][
            "containers"
        ]
        return containers[0]

    def logged(self, pod: str, event: str) -> Sequence[Mapping[str, object]]:
        """What the predictor's container in a pod has logged about `event`."""
        lines = self.kubectl("logs", pod, "-c", "kserve-container", check=False).splitlines()
        found = (json.loads(line) for line in lines if line.startswith("{"))
        return [entry for entry in found if entry.get("event") == event]


def step_of(client: Client, job: Job, step: int, seconds: float = 240) -> Event:
    """Wait until a job has done so many steps; the event that says so. Fails where it ends before."""
    for event in client.watch(job.id, timeout=seconds):
        assert not event.status.terminal, f"the job ended at once: {event}"
        if event.phase == "denoising" and event.step >= step:
            return event
    raise AssertionError("the stream of events ended")
