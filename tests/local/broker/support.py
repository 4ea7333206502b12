"""The local broker as a process, over manifests that a test writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from local.api_address import ApiAddress
from tests.servers import free_port

__all__ = ["LocalBroker", "Subscription", "event_headers", "resources", "write_manifests"]

ROOT = Path(__file__).resolve().parents[3]
START = 60.0  # seconds until a test gives up on a start


@dataclass(frozen=True)
class Subscription:
    """A Trigger: which events go to which URL, and how hard that is tried."""

    name: str
    filters: Sequence[Mapping[str, Any]]
    subscriber: str  # URL
    delivery: Mapping[str, Any] | None = None


def event_headers(type_: str = "test.event", event_id: str = "1", **extensions: str) -> dict[str, str]:
    """The headers of an event in binary mode."""
    attributes = {"specversion": "1.0", "id": event_id, "source": "/test", "type": type_, **extensions}
    return {f"ce-{name}": value for name, value in attributes.items()}


def resources(
    namespace: str, subscriptions: Sequence[Subscription], delivery: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """A Broker `default` with this delivery, and the Triggers."""
    found = [_resource(namespace, "Broker", "default", {"delivery": dict(delivery)} if delivery else {})]
    for each in subscriptions:
        spec: dict[str, Any] = {
            "broker": "default",
            "filters": list(each.filters),
            "subscriber": {"uri": each.subscriber},
        }
        if each.delivery is not None:
            spec["delivery"] = dict(each.delivery)
        found.append(_resource(namespace, "Trigger", each.name, spec))
    return found


def write_manifests(
    folder: Path, subscriptions: Sequence[Subscription], delivery: Mapping[str, Any] | None = None
) -> None:
    """Have these Triggers and no others in a folder."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.yaml"):
        path.unlink()
    (folder / "broker.yaml").write_text(yaml.safe_dump_all(resources("video", subscriptions, delivery)))


def _resource(namespace: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


def write(path: Path, api_version: str, kind: str, name: str, spec: Mapping[str, Any]) -> None:
    metadata = {"name": name, "namespace": "video"}
    path.write_text(
        yaml.safe_dump({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": dict(spec)})
    )


class LocalBroker:
    """`python -m local.broker`, which may be killed and started again."""

    def __init__(self, folder: Path, redis_url: str, addresses: str = "") -> None:
        self.manifests = folder / "manifests"
        self.log = folder / "broker.log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": redis_url,
            "MOCHI_MANIFESTS": str(self.manifests),
            "MOCHI_ADDRESSES": addresses,
            "MOCHI_LOG_FORMAT": "json",
            "MOCHI_LOG_LEVEL": "debug",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(trust_env=False)
        self._port = 0

    @property
    def base(self) -> str:
        return ApiAddress(self.environ.get("MOCHI_HOST", "127.0.0.1"), self._port).url

    @property
    def url(self) -> str:
        """Where events are posted."""
        return f"{self.base}/video/default"

    def deploy(self, subscriptions: Sequence[Subscription], delivery: Mapping[str, Any] | None = None) -> str:
        """Have these Triggers and no others, from a start on; the URL to post to."""
        write_manifests(self.manifests, subscriptions, delivery)
        self.start()
        return self.url

    def start(self) -> None:
        self._port = free_port()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.broker"],
                env={**self.environ, "PORT": str(self._port)},
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START
        while not self._is_up():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)  # nothing tells when a process listens

    def post(self, type_: str, event_id: str) -> int:
        """Post an event; the status of the answer."""
        return self._client.post(self.url, headers=event_headers(type_, event_id)).status_code

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self._end(signal.SIGKILL)

    def stop(self, within: float = 30) -> int:
        """End it as a supervisor does; the exit code. Raises TimeoutExpired after `within` seconds."""
        return self._end(signal.SIGTERM, within)

    def wait_for_log(self, event: str) -> None:
        """Wait until it has logged this."""
        deadline = time.monotonic() + START
        while f'"event": "{event}"' not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)  # a file tells nobody that it grows

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        self._client.close()

    def _end(self, number: signal.Signals, within: float = 30) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(within)
        self._process = None
        return code

    def _is_up(self) -> bool:
        try:
            return self._client.get(f"{self.base}/healthz").status_code < 600
        except httpx.TransportError:
            return False
