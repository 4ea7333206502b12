"""The system under test: servers of its own, proxies before them, `mochi up` behind, and a recorder.

The recorder is one more subscriber of the Broker: it takes every event about the end of a job.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from jobs.settings import Settings
from local.embedded import SEAWEED_PORTS, free_range, seaweed, valkey
from tests.chaos.kept import Kept
from tests.chaos.plan import LEASE_SECONDS, SPOKEN_TO
from tests.chaos.proxy import Proxy
from tests.e2e.system import System, mochi_up
from tests.local.broker.recorder import Recorder
from tests.servers import ACCESS_KEY, BUCKET, PASSWORD, SECRET_KEY, accepts, free_port

__all__ = ["ENDS", "Rig", "started"]

#: Where the recorder takes events.
ENDS = "/ends"

_ROOT = Path(__file__).resolve().parents[2]
_UP = (sys.executable, "-m", "tests.chaos.up")
_TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: recorder
  namespace: video
spec:
  broker: default
  filters:
    - any:
        - exact:
            type: dev.mochi.generation.completed
        - exact:
            type: dev.mochi.generation.failed
        - exact:
            type: dev.mochi.generation.cancelled
  subscriber:
    uri: {url}
  delivery:
    timeout: PT5S
    retry: 5
    backoffPolicy: linear
    backoffDelay: PT1S
"""
_MODULES = {"broker": "local.broker", "predictor": "inference_service"}


@dataclass(frozen=True)
class Rig:
    """All of it."""

    system: System
    servers: Mapping[str, Kept]
    proxies: Mapping[str, Proxy]
    recorder: Recorder
    model: str  # MODEL_NAME
    settings: Settings  # for looking at it all from outside, past the proxies

    def process(self, name: str) -> psutil.Process | None:
        """A process of the supervisor's; None while it does not run."""
        for child in psutil.Process(self.system.process.pid).children():
            with suppress(psutil.Error):  # it has ended meanwhile
                if child.status() != psutil.STATUS_ZOMBIE and _name(child) == name:
                    return child
        return None


def _name(process: psutil.Process) -> str:
    source = process.environ().get("FUNCTION_SOURCE")
    if source:
        return Path(source).parent.name
    words = process.cmdline()
    return next((name for name, module in _MODULES.items() if module in words), "")


@contextmanager
def started(folder: Path, environ: Mapping[str, str]) -> Iterator[Rig]:
    """Start it all, and end it."""
    redis_port, s3_port = free_port(), free_range(SEAWEED_PORTS)
    endpoint = f"http://127.0.0.1:{s3_port}"
    (folder / "valkey").mkdir()
    (folder / "seaweed").mkdir()
    servers = {
        "valkey": Kept(
            valkey(folder / "valkey", redis_port, PASSWORD),
            folder / "valkey.log",
            lambda: accepts(redis_port),
        ),
        "seaweed": Kept(
            seaweed(folder / "seaweed", s3_port, ACCESS_KEY, SECRET_KEY, BUCKET),
            folder / "seaweed.log",
            lambda: _refuses(f"{endpoint}/{BUCKET}/"),
        ),
    }
    settings = Settings(
        redis_url=f"redis://:{PASSWORD}@127.0.0.1:{redis_port}/0",
        aws_s3_endpoint=endpoint,
        aws_s3_bucket=BUCKET,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    with ExitStack() as held:
        for server in servers.values():
            held.callback(server.close)
            server.start()
        for server in servers.values():
            server.wait_until_ready()
        proxies = {
            "redis": held.enter_context(Proxy(redis_port)),
            "s3": held.enter_context(Proxy(s3_port)),
        } | {f"to {name}": held.enter_context(Proxy()) for name in SPOKEN_TO}
        recorder = held.enter_context(Recorder())
        ours = {
            "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{proxies['redis'].port}/0",
            "AWS_S3_ENDPOINT": f"http://127.0.0.1:{proxies['s3'].port}",
            "AWS_S3_BUCKET": BUCKET,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "MOCHI_MANIFESTS": str(_manifests(folder, recorder.url(ENDS))),
            "MOCHI_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "MOCHI_LOG_FORMAT": "json",
            "CHAOS_PROXIES": ",".join(f"{name}={proxies[f'to {name}'].port}" for name in SPOKEN_TO),
            "PYTHONPATH": str(_ROOT),  # of `mochi up` itself
        }
        system = held.enter_context(mochi_up(folder / "data", ours | dict(environ), _UP))
        for name in SPOKEN_TO:
            proxies[f"to {name}"].target = int(system.address(name).rpartition(":")[2])
        for proxy in proxies.values():
            held.callback(proxy.restore)  # else the system could not end in order
        for server in servers.values():
            held.callback(server.send, signal.SIGCONT)
        yield Rig(system, servers, proxies, recorder, environ["MODEL_NAME"], settings)


def _refuses(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.FORBIDDEN
    except httpx.TransportError:
        return False


def _manifests(folder: Path, url: str) -> Path:
    """A copy of the project's, with the recorder's Trigger and with pauses as short as the leases."""
    copy = folder / "knative"
    shutil.copytree(_ROOT / "knative", copy)
    for path in copy.rglob("trigger-predict-*.yaml"):
        text = path.read_text("utf-8")
        assert "retry: 3 " in text
        assert "backoffDelay: PT2S" in text
        text = text.replace("retry: 3 ", "retry: 5 ").replace("backoffDelay: PT2S", "backoffDelay: PT0.5S")
        path.write_text(text, "utf-8")
    (copy / "trigger-recorder.yaml").write_text(_TRIGGER.format(url=url), "utf-8")
    return copy
