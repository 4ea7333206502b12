"""This side of the guardian: starts it, tells it of each process group, replaces it when it dies."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from local import guardian

__all__ = ["Warden"]

#: Seconds until a guardian that has died is replaced.
_PAUSE = 0.2


class Warden:
    """Use it as an asynchronous context manager around everything that is started."""

    def __init__(
        self,
        log: Path,
        environ: Mapping[str, str],
        inherited: Sequence[int] = (),
        litter: Sequence[Path] = (),
    ) -> None:
        """`log`: of the guardian. `inherited`: descriptors that it holds open. `litter`: see the guardian."""
        self._log = log
        self._environ = dict(environ)
        self._inherited = tuple(inherited)
        self._litter = tuple(litter)
        self._groups: set[int] = set()
        self._pipe: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._start()
        self._watch = asyncio.create_task(self._replace())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the guardian end what is left, and end."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self._close()
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        if self._process is None:
            raise RuntimeError("the guardian has not been started")
        return self._process.pid

    def started(self, group: int) -> None:
        """From now on this process group ends with us."""
        self._groups.add(group)
        self._say(f"start {group}")

    def ended(self, group: int) -> None:
        """No process of this group is left: its number may become another's."""
        self._groups.discard(group)
        self._say(f"end {group}")

    async def _start(self) -> None:
        reading, writing = os.pipe()
        try:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-I", "-S", guardian.__file__),
                    stdin=reading,
                    stdout=log,
                    stderr=log,
                    pass_fds=self._inherited,
                    start_new_session=True,  # no Ctrl-C reaches it, and nothing that ends our own group
                    env=self._environ,
                    cwd="/",
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe = writing
        for path in self._litter:
            self._say(f"litter {path}")
        for group in self._groups:
            self._say(f"start {group}")

    async def _replace(self) -> None:
        while self._process is not None:
            await self._process.wait()
            self._close()
            await asyncio.sleep(_PAUSE)
            with suppress(OSError):  # no room for its log, say: then it is tried again
                await self._start()

    def _say(self, line: str) -> None:
        if self._pipe is not None:
            with suppress(BrokenPipeError):  # it has just died, and the next one is told everything
                os.write(self._pipe, os.fsencode(line + "\n"))

    def _close(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
