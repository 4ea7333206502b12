"""Functions in threads that take turns with the event loop: no two of them ever run at once.

A function works until it blocks in simulated time or ends; then the loop goes on. Knows no job.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

__all__ = ["Buried", "Carrier", "Turns"]


class Buried(BaseException):
    """Raised in what a killed process had not finished, after the run, so that nothing stays behind."""


class Loop(Protocol):
    """What a thread needs of the loop."""

    @property
    def burying(self) -> bool:
        """Whether the run is over."""

    def call_later(self, delay: float, callback: Any, /) -> object:  # noqa: ANN401  # asyncio's signature
        """As asyncio's."""

    def carrier(self) -> Carrier:
        """A real thread that has nothing to do."""

    def take_turns(self, thread: Turns, carrier: Carrier) -> None:
        """Let a thread work until it blocks or ends."""

    def done_with(self, carrier: Carrier) -> None:
        """Its work is done."""


class Carrier:
    """A real thread. It runs one function after another, and only while the loop waits in `go`.

    Two bare locks, each released by the other side: what `threading` offers beyond them costs a lot more.
    """

    def __init__(self) -> None:
        self.work: Callable[[], None] | None = None  # of the next `go`; None: it ends
        self._mine, self._theirs = threading.Lock(), threading.Lock()
        self._mine.acquire()
        self._theirs.acquire()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Called by the loop: until the thread has nothing to do or pauses."""
        self._mine.release()
        self._theirs.acquire()

    def pause(self) -> None:
        """Called by the thread: until the next `go`."""
        self._theirs.release()
        self._mine.acquire()

    def end(self) -> None:
        """Called by the loop, when it is idle."""
        self.work = None
        self._mine.release()
        self._thread.join()

    def _main(self) -> None:
        asyncio._set_running_loop(None)  # noqa: SLF001  # a thread of its own has no loop
        self._mine.acquire()
        while self.work is not None:
            self.work()
            self.pause()


class Turns:
    """One function."""

    def __init__(self, loop: Loop, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self._loop, self._work, self._future = loop, work, future
        self._context = copy_context()
        self._carrier: Carrier | None = None
        self._wake_in: float | None = None
        self._buried = False
        self._done = False
        self._error: BaseException | None = None
        self._result: Any = None

    def go_on(self) -> None:
        """Let it work until it blocks or ends."""
        if self._loop.burying:
            return
        if self._carrier is None:
            self._carrier = self._loop.carrier()
            self._carrier.work = self._main
        self._wake_in = None
        self._loop.take_turns(self, self._carrier)
        if self._done:
            self._loop.done_with(self._carrier)
            if not self._future.done():
                self._tell()
        elif self._wake_in is not None:
            self._loop.call_later(self._wake_in, self.go_on)

    def _tell(self) -> None:
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._result)

    def block(self, seconds: float) -> None:
        if self._buried:
            raise Buried
        self._wake_in = seconds
        if self._carrier is None:
            raise AssertionError("it is at work")
        self._carrier.pause()
        if self._buried:
            raise Buried

    def bury(self) -> None:
        """Where it was begun and is not done: end it."""
        if self._carrier is None or self._done:
            return
        self._buried = True
        self._loop.take_turns(self, self._carrier)
        self._loop.done_with(self._carrier)

    def _main(self) -> None:
        try:
            self._result = self._context.run(self._work)
        except BaseException as error:  # noqa: BLE001  # it is told to whoever waits
            self._error = error
        self._done = True
