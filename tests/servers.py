"""Real servers for tests, each in a folder and on ports of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.embedded import SEAWEED_PORTS, free_range, seaweed, valkey

__all__ = ["PASSWORD", "free_port", "redis_server", "running", "s3_server"]

PASSWORD = "of-a-test"
ACCESS_KEY, SECRET_KEY, BUCKET = "tester", "a-secret-of-a-test", "videos"


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


@contextmanager
def running(
    argv: Sequence[str], log: Path, ready: Callable[[], bool], environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, from its being ready to its end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], **(environ or {})},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.02)  # a server says nothing that a test could wait for
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server(folder: Path, port: int | None = None, appendonly: bool = False) -> Iterator[str]:
    """A Valkey server; its URL."""
    port = port or free_port()
    command = valkey(folder, port, PASSWORD, appendonly)
    with running(command.argv, folder / "log", lambda: accepts(port)):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@contextmanager
def s3_server(folder: Path, first_port: int | None = None) -> Iterator[str]:
    """A SeaweedFS server; its S3 endpoint. It is up once it answers anonymous access with a refusal."""
    import httpx

    first_port = first_port or free_range(SEAWEED_PORTS)
    endpoint = f"http://127.0.0.1:{first_port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{endpoint}/{BUCKET}/").status_code == httpx.codes.FORBIDDEN
        except httpx.TransportError:
            return False

    command = seaweed(folder, first_port, ACCESS_KEY, SECRET_KEY, BUCKET)
    try:
        with running(command.argv, folder / "log", ready, command.environ):
            yield endpoint
    finally:
        for path in command.litter:
            path.unlink(missing_ok=True)
