"""Small programs for the supervisor: real processes that note in one file what happens to them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.processes import Program

__all__ = ["Stage", "alive", "eventually"]

_PREAMBLE = """
import os, signal, subprocess, sys, time
name, events = sys.argv[1:3]
def note(word, pid=os.getpid()):
    with open(events, "a") as file:
        file.write(f"{word} {name} {pid}\\n")
"""
WELL = """
signal.signal(signal.SIGTERM, lambda *_: (note("stop"), sys.exit(0)))
note("ready")
while True: signal.pause()
"""
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("grandchild", subprocess.Popen(["/bin/sleep", "600"]).pid)
note("ready")
while True: signal.pause()
"""


@dataclass(frozen=True)
class Stage:
    """Where the programs of one test note what happens."""

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "events"

    def notes(self, *words: str) -> list[tuple[str, str, int]]:
        """(word, name, pid) of each note, the oldest first; of these words where any are given."""
        text = self.events.read_text() if self.events.exists() else ""
        found = [line.split() for line in text.splitlines()]
        return [(w, n, int(pid)) for w, n, pid in found if not words or w in words]

    def program(self, name: str, script: str = WELL, **changes: Any) -> Program:  # noqa: ANN401  # of Program's fields
        async def ready() -> bool:
            pids = [pid for _, noted, pid in self.notes("ready") if noted == name]
            return bool(pids) and alive(pids[-1])

        argv = (sys.executable, "-I", "-S", "-c", _PREAMBLE + script, name, str(self.events))
        values: dict[str, Any] = {
            "name": name,
            "argv": argv,
            "environ": {},
            "address": "nowhere",
            "log": self.folder / f"{name}.log",
            "folder": self.folder,
            "ready": ready,
            "ready_seconds": 30.0,
        }
        return Program(**{**values, **changes})


def alive(pid: int) -> bool:
    """Whether the process runs: one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self/stat").exists()
    return state != "Z"


async def eventually(condition: Callable[[], bool], patience: float = 30.0) -> None:
    """Wait until it holds; what is waited for are other processes, which do not say."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110  # other processes set no event of ours
            await asyncio.sleep(0.02)
