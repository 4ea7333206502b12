"""The whole system as a user starts it: `mochi up` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from tests.servers import free_port

__all__ = ["System", "mochi_up"]

MOCHI = [str(Path(sys.executable).with_name("mochi"))]


@dataclass
class System:
    """A running `mochi up`."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str]
    table: str  # what it printed before it was ready
    lines: Queue[str]  # what it has printed since; "" is its end

    def address(self, name: str) -> str:
        """The address of one of its processes, as the table says."""
        match = re.search(rf"^\W*{name}\b.*?(\w+://\S+)", self.table, re.MULTILINE)
        assert match, self.table
        return match[1].rstrip("/")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def mochi_up(
    data_dir: Path, environ: Mapping[str, str] | None = None, command: Sequence[str] = (*MOCHI, "up")
) -> Iterator[System]:
    """Start it; it is stopped at the end if it still runs."""
    port = free_port()
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(data_dir), **(environ or {})},
    )
    lines: Queue[str] = Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        table = _until_ready(process, lines, f"http://127.0.0.1:{port}")
        yield System(f"http://127.0.0.1:{port}", data_dir, process, table, lines)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def _read(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _until_ready(process: subprocess.Popen[str], lines: Queue[str], url: str) -> str:
    said = ""
    while f"ready: {url}\n" not in said:
        try:
            line = lines.get(timeout=90)
        except Empty:
            raise AssertionError(f"mochi up says nothing more:\n{said}") from None
        assert line, f"mochi up ended with {process.wait()}:\n{said}"
        said += line
    return said
