"""What each process of the idle system costs: its memory, its CPU time, and how long it takes to be up."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from bench.table import Row

__all__ = ["idle", "imports"]

_IDLE_SECONDS = 10.0
_NAMES = {  # a word of its command line → the process
    "valkey-server": "valkey",
    "weed": "seaweedfs",
    "functions/submit": "submit",
    "functions/completion": "completion",
    "functions/reaper": "reaper",
    "local.broker": "broker",
    "inference_service": "predictor",
    "local.guardian": "guardian",
}
_IMPORTS = {
    "mochi (the client)": "import mochi; mochi.Client",
    "submit": "import functions_framework.aio, functions.submit.api",
    "completion": "import functions_framework.aio, functions.completion.api",
    "reaper": "import functions_framework.aio, functions.reaper.api",
    "broker": "import local.broker.process",
    "predictor, without its model": "import inference_service.server",
    "predictor": "import inference_service.server, inference_service.mochi_loading",
}
_REPEATS = 5


def idle(supervisor: int) -> Iterator[Row]:
    """Resident memory of each process below `supervisor`, and its CPU time in some seconds of idleness."""
    root = psutil.Process(supervisor)
    family = {name_of(process): process for process in [root, *root.children(recursive=True)]}
    before = {name: sum(process.cpu_times()[:2]) for name, process in family.items()}
    time.sleep(_IDLE_SECONDS)
    for name, process in family.items():
        used = sum(process.cpu_times()[:2]) - before[name]
        aim = "below 150 MB" if name in ("submit", "completion", "reaper") else ""
        yield Row(f"{name}, idle", "memory", f"{process.memory_info().rss / 1e6:.0f} MB", aim)
        yield Row(f"{name}, idle", "CPU", f"{used / _IDLE_SECONDS:.1%}")


def name_of(process: psutil.Process) -> str:
    """What a process of the system is."""
    words = [*process.cmdline(), process.environ().get("FUNCTION_SOURCE", "")]
    return next((name for part, name in _NAMES.items() if any(part in word for word in words)), "mochi up")


def imports() -> Iterator[Row]:
    """The best of some starts of Python that import what a process imports, less a bare start."""
    bare = _best("pass")
    for name, statement in _IMPORTS.items():
        yield Row(name, "import", f"{_best(statement) - bare:.2f} s")


def _best(statement: str) -> float:
    def once() -> float:
        since = time.perf_counter()
        subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
        return time.perf_counter() - since

    return min(once() for _ in range(_REPEATS))
