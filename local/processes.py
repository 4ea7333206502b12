"""A program, and one run of it as a child process: its start, its being ready, its end.

Each run is a process group of its own: a Ctrl-C at the terminal does not reach it, and whatever it starts
ends with it. It begins at a gate and passes it only once the guardian knows of it, so that there is no
moment at which a death of `mochi up` would leave it behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from local.log_files import last_reason, rotate
from local.probes import Probe
from local.warden import Warden

__all__ = ["Child", "Program"]

#: Waits for a line on its standard input, and ends where that is closed instead.
_GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "gate")

#: Seconds between two questions whether a process is ready, while it starts.
_PAUSE = 0.05


@dataclass(frozen=True)
class Program:
    """What to start, and how to tell that it is ready."""

    name: str
    argv: Sequence[str]  # the first one is an absolute path; no secrets
    environ: Mapping[str, str] = field(repr=False)  # all of it; may hold secrets
    address: str  # for people
    log: Path
    folder: Path  # its working directory
    ready: Probe
    ready_seconds: float | None = 60.0  # it has so long to become ready; None: as long as it lives
    stop_seconds: float = 1.5  # it has so long to end after SIGTERM
    litter: Sequence[Path] = ()  # files that it leaves behind when it is killed


class Child:
    """A program that was started."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, warden: Warden) -> None:
        self.program = program
        self._process = process
        self._warden = warden
        self._since = 0
        self._gone = False

    @classmethod
    async def start(cls, program: Program, warden: Warden, inherited: Sequence[int] = ()) -> Self:
        """Start a program; it holds the descriptors `inherited` open. Raises OSError."""
        rotate(program.log)
        reading, writing = os.pipe()
        try:
            with program.log.open("ab") as log:
                since = log.tell()
                process = await asyncio.create_subprocess_exec(
                    *_GATE,
                    *program.argv,
                    stdin=reading,
                    stdout=log,
                    stderr=log,
                    env=dict(program.environ),
                    cwd=program.folder,
                    pass_fds=inherited,
                    start_new_session=True,
                )
            child = cls(program, process, warden)
            child._since = since
            warden.started(process.pid)
            with suppress(BrokenPipeError):
                os.write(writing, b"go\n")
        finally:
            os.close(reading)
            os.close(writing)
        return child

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Its exit code (negative: the signal that ended it), once nothing of its group is left."""
        code = await self._process.wait()
        if not self._gone:  # later, its number may be another's
            self._gone = True
            self._kill()
            self._warden.ended(self.pid)
            for path in self.program.litter:
                with suppress(OSError):  # another user's, say: no reason to keep nothing running any more
                    path.unlink(missing_ok=True)
        return code

    async def until_ready(self) -> bool:
        """Whether it has become ready: False if it has ended or its time is over."""
        ended = asyncio.ensure_future(self._process.wait())
        try:
            async with asyncio.timeout(self.program.ready_seconds):
                while not ended.done():
                    if await self.program.ready():
                        return not ended.done()
                    await asyncio.wait([ended], timeout=_PAUSE)
        except TimeoutError:
            pass
        finally:
            ended.cancel()
        return False

    async def stop(self) -> None:
        """SIGTERM; when its time is over, SIGKILL to all of its group."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self.program.stop_seconds)
        except TimeoutError:
            self._kill()
        await self.wait()

    def why(self) -> str:
        """How it ended, and what it said last; or that it has not."""
        code = self._process.returncode
        if code is not None and code < 0:  # it had no time to say why
            return f"was ended by signal {-code} ({signal.strsignal(-code)})"
        how = (
            f"was not ready within {self.program.ready_seconds:g} s"
            if code is None
            else f"ended with exit code {code}"
        )
        reason = last_reason(self.program.log, self._since)
        return f"{how}: {reason}" if reason else how

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
