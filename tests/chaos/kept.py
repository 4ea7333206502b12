"""The two servers of a run, which the tests themselves kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local.embedded import Command

__all__ = ["Kept"]


class Kept:
    """A server that is started as often as wanted; its data stay."""

    def __init__(self, command: Command, log: Path, ready: Callable[[], bool]) -> None:
        self._command = command
        self._log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        for path in self._command.litter:
            path.unlink(missing_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command.argv,
                stdout=output,
                stderr=output,
                env={"PATH": os.environ["PATH"], **self._command.environ},
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self.alive, self._log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, self._log.read_text("utf-8", "replace")
            time.sleep(0.02)  # a server says nothing that a test could wait for

    @property
    def alive(self) -> bool:
        """Whether it runs (or is stopped)."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> bool:
        """Send a signal, and wait for its end where it ends it; whether there was a process."""
        if self._process is None or self._process.poll() is not None:
            return False
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:  # it is stopped, or takes its time
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        return True

    def close(self) -> None:
        """End it for good."""
        self.send(signal.SIGKILL)
        for path in self._command.litter:
            path.unlink(missing_ok=True)
