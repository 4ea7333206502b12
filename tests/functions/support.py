"""The functions as real processes, and a Broker that only keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port, running

ROOT = Path(__file__).parents[2]


@dataclass
class Received:
    """A request that the Broker got."""

    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return self.headers["ce-type"].rsplit(".", 1)[-1]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class RecordingBroker:
    """Answers everything with `status`, and keeps it."""

    url: str = ""
    status: int = 202
    received: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, seconds: float = 10) -> list[Received]:
        """The first `count` requests, once they are there."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, seconds), self.received
            return list(self.received)

    def clear(self) -> None:
        with self.arrived:
            self.received.clear()
            self.status = 202


@contextmanager
def recording_broker() -> Iterator[RecordingBroker]:
    broker = RecordingBroker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name is http.server's
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with broker.arrived:
                broker.received.append(Received(headers, body))
                broker.arrived.notify_all()
            self.send_response(broker.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    broker.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield broker
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def command(function: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line and environment under which a function runs in production."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/nonexistent"),
        "FUNCTION_TARGET": "main",
        "FUNCTION_SOURCE": str(ROOT / "functions" / function / "main.py"),
        "MOCHI_LOG_FORMAT": "json",
    }
    line = [sys.executable, "-m", "functions.serve"]
    return [*line, "--host", "127.0.0.1", "--port", str(port)], environ


@dataclass(frozen=True)
class Function:
    """A function at work."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged of this kind."""
        said = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in said if line["event"] == event]


@contextmanager
def function(name: str, environ: Mapping[str, str], folder: Path) -> Iterator[Function]:
    """A function as a real process, from its being up to its end."""
    port = free_port()
    line, base = command(name, port)
    url, log = f"http://127.0.0.1:{port}", folder / f"{name}.log"

    def up() -> bool:
        try:
            return httpx.get(f"{url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    with running(line, log, up, {**base, **environ}) as process:
        yield Function(url, process, log)
