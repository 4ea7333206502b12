"""A real `mochi up` (or `demo`) as a process, and all the processes that belong to its data folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.servers import free_port

__all__ = ["Mochi", "environ", "holders", "mochi", "only_line", "until"]


def environ(**more: str) -> dict[str, str]:
    """What a user's shell has, and a model that does nothing."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "MODEL_NAME": "none", **more}


def holders(data_dir: Path) -> dict[int, psutil.Process]:
    """Every process that belongs to a data folder: each holds its lock open."""
    lock = str(data_dir / "processes.lock")
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # another user's, or it has ended meanwhile
            if any(file.path == lock for file in process.open_files()):
                found[process.pid] = process
    return found


def until(condition: Callable[[], bool], patience: float = 90.0) -> None:
    """Wait until it holds; what is waited for are other processes, which do not say."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Mochi:
    """A `mochi` command that runs, or has ended."""

    process: subprocess.Popen[bytes]
    folder: Path  # of what it prints
    data_dir: Path
    url: str

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text("utf-8")

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said this, on whichever of the two."""

        def said() -> bool:
            everything = self.out + self.err
            assert self.process.poll() is None or everything.count(text) >= times, everything
            return everything.count(text) >= times

        until(said)

    def ready(self) -> None:
        self.says(f"ready: {self.url}\n")

    def pid(self, name: str) -> int:
        """Of one of its processes."""
        words = {
            "valkey": "valkey-server",
            "seaweed": "weed ",
            "predictor": "-m inference_service",
            "broker": "-m local.broker",
            "guardian": "guardian.py",
        }
        function = f"/{name}/main.py"
        for pid, process in holders(self.data_dir).items():
            line = " ".join(process.cmdline())
            source = process.environ().get("FUNCTION_SOURCE", "")
            if words[name] in line if name in words else source.endswith(function):
                return pid
        raise AssertionError(f"no process of {name}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def mochi(
    folder: Path, *arguments: str, data_dir: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Mochi]:
    """Run `mochi up` (or what `arguments` say). It is killed at the end, if it still runs."""
    port = free_port()
    command = arguments or ("up", "--port", str(port))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("mochi")), *command, "--data-dir", str(data_dir)],
            stdout=out,
            stderr=err,
            env={**environ(), **(settings or {})},
            cwd=folder,
        )
    try:
        yield Mochi(process, folder, data_dir, f"http://127.0.0.1:{port}")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def only_line(text: str) -> str:
    """The one line about what is wrong, after those that say what is being started."""
    lines = [line for line in text.splitlines() if not line.startswith(("starting ", "looking "))]
    assert len(lines) == 1, text
    return lines[0]
