"""Starts programs in order, keeps them running, stops them in order. Knows nothing of what they are.

A program that does not become ready at its first start is an error; one that dies later is started again,
after a pause that grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from local.errors import CannotStart
from local.pauses import GrowingPause
from local.processes import Child, Program
from local.warden import Warden

__all__ = ["Supervisor"]

#: Takes a line for the user.
Tell = Callable[[str], None]


class Supervisor:
    """All programs of one system."""

    def __init__(
        self,
        warden: Warden,
        tell: Tell,
        inherited: Sequence[int] = (),
        pause: Callable[[], GrowingPause] = GrowingPause,
        again: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`inherited`: descriptors that every process holds open; `pause`: makes one for each program.

        `again` is told the name of a program that is ready again after its death.
        """
        self._warden = warden
        self._tell = tell
        self._inherited = tuple(inherited)
        self._pause = pause
        self._again = again
        self._kept: dict[str, _Kept] = {}

    def pid(self, name: str) -> int | None:
        """The process id of a program, or None while it does not run."""
        child = self._kept[name].child
        return child.pid if child else None

    async def start(self, programs: Iterable[Program]) -> None:
        """Start these at once; returns when all are ready. Raises CannotStart, naming the first that is not.

        Those that are ready are kept running from then on.
        """
        tasks = []
        for program in programs:
            kept = _Kept(program, self._warden, self._tell, self._inherited, self._pause(), self._again)
            self._kept[program.name] = kept
            tasks.append(asyncio.create_task(kept.bring_up()))
        try:
            for task in asyncio.as_completed(tasks):
                await task
        finally:
            for pending in tasks:
                pending.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self, order: Iterable[Iterable[str]]) -> None:
        """Stop what was started, group after group; the programs of a group at once."""
        for names in order:
            await asyncio.gather(*(self._kept[name].stop() for name in names if name in self._kept))
        await asyncio.gather(*(kept.stop() for kept in self._kept.values()))


class _Kept:
    """A program that is kept running."""

    def __init__(
        self,
        program: Program,
        warden: Warden,
        tell: Tell,
        inherited: Sequence[int],
        pause: GrowingPause,
        ready_again: Callable[[str], None],
    ) -> None:
        self._program = program
        self._warden = warden
        self._tell = tell
        self._inherited = inherited
        self._pause = pause
        self._ready_again = ready_again
        self._keeper: asyncio.Task[None] | None = None
        self.child: Child | None = None

    async def bring_up(self) -> None:
        name = self._program.name
        try:
            child = await self._run()
        except OSError as error:
            raise CannotStart(f"{name} cannot be started: {error.strerror or error}") from None
        if not await child.until_ready():
            raise CannotStart(f"{name} cannot start: it {child.why()} (its log: {self._program.log})")
        self._keeper = asyncio.create_task(self._keep(child), name=f"keep {name}")

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self.child is not None:
            await self.child.stop()
            self.child = None

    async def _run(self) -> Child:
        self.child = await Child.start(self._program, self._warden, self._inherited)
        return self.child

    async def _keep(self, child: Child) -> None:
        name = self._program.name
        while True:
            started = time.monotonic()
            await child.wait()
            self.child = None
            pause = self._pause.after(time.monotonic() - started)
            self._tell(
                f"{name} {child.why()}; it is started again in {pause:g} s (its log: {self._program.log})"
            )
            await asyncio.sleep(pause)
            child = await self._again(child)

    async def _again(self, ended: Child) -> Child:
        try:
            child = await self._run()
        except OSError as error:
            self._tell(f"{self._program.name} cannot be started: {error.strerror or error}")
            return ended  # its end is found again at once, and the pause grows
        if await child.until_ready():
            self._tell(f"{self._program.name} is ready again")
            self._ready_again(self._program.name)
        elif child.alive:
            self._tell(f"{self._program.name} {child.why()}")
        return child
