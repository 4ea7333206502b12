"""The functions as real processes, and a Broker that only keeps what it is sent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(function: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line and environment under which a function runs in production."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/nonexistent"),
        "FUNCTION_TARGET": "main",
        "FUNCTION_SOURCE": str(ROOT / "functions" / function / "main.py"),
        "MOCHI_LOG_FORMAT": "json",
    }
    line = [sys.executable, "-m", "uvicorn", "functions_framework.aio:app"]
    return [*line, "--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "3"], environ


@contextmanager
def function(name: str, environ: Mapping[str, str], log: Path) -> Iterator[str]:
    """A running function; gives its base URL."""
    port = free_port()
    line, base = command(name, port)
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(line, env={**base, **environ}, cwd=ROOT, stdout=output, stderr=output)
    try:
        _wait_until_up(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/livez").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)  # there is nothing to wait on: the process says nothing that a test should rely on
    raise AssertionError(f"{url} did not come up:\n{log.read_text()}")
