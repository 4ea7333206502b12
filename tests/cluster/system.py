"""The product on the cluster: its client through the gateway, its predictor's pods, its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

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
    gateway: str  # where the cluster's gateway is reached: http://127.0.0.1:PORT
    url: str  # submit's own address, whose host the gateway routes by

    @property
    def host(self) -> str:
        """The name by which the gateway knows submit."""
        return urlsplit(self.url).netloc

    def client(self) -> Client:
        """A client that outlasts a restart of what it talks to."""
        return Client(
            self.gateway, headers={"host": self.host}, retry=Retry(attempts=12, reconnects=60), timeout=60
        )

    def post(self, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A POST to submit through the gateway, with nobody's patience but ours."""
        url = f"{self.gateway}{path}"
        return httpx.post(url, content=content, headers={**headers, "host": self.host}, timeout=60)

    def environ(self) -> Mapping[str, str]:
        """What leads a program that knows only submit's own address there: the gateway, as a proxy."""
        return {"http_proxy": self.gateway, "HTTP_PROXY": self.gateway, "no_proxy": "127.0.0.1,localhost"}

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
    def revised(self, environ: Mapping[str, str]) -> Iterator[str]:
        """A revision of the predictor with other settings, while the block runs; its name.

        Afterwards there is one more, with those of before.
        """
        before = self._container().get("env", [])
        kept = [entry for entry in before if entry["name"] not in environ]
        try:
            yield self._roll_out([*kept, *({"name": n, "value": v} for n, v in environ.items())])
        finally:
            self._roll_out(before)

    def _roll_out(self, environ: Sequence[Mapping[str, object]]) -> str:
        old = until("the predictor's revision is settled", self.revision, _ROLLOUT)
        path = "/spec/predictor/containers/0/env"
        self.kubectl.patch(
            "inferenceservice", PREDICTOR, [{"op": "add", "path": path, "value": list(environ)}]
        )

        def new() -> str:
            revision = self.revision()
            return revision if revision != old else ""

        return until("the predictor's new revision gets the requests", new, _ROLLOUT)

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
