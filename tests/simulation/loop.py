"""A deterministic event loop: simulated time, and processes that can be killed or stopped at any point.

Whatever would run in a thread runs in a real one, but never at the same time as anything else
(`threads.py`). Knows no job.
"""

# ruff: noqa: ANN401  # the signatures are those of asyncio

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from tests.simulation.threads import Carrier, Turns

__all__ = ["PROCESS", "Crash", "Process", "SimLoop", "new_loop"]

T = TypeVar("T")


class Crash(AssertionError):
    """A callback raised what nobody expected."""


class Process:
    """What is killed or stopped as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped_until = 0.0
        self.calls: set[asyncio.Future[Any]] = set()  # of others, which wait for an answer


#: The process that the running code belongs to; None: the world itself.
PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def new_loop() -> SimLoop:
    """A loop. What asyncio has beside and nobody here needs (sockets, signals, …) is left out."""
    made: SimLoop = SimLoop()  # type: ignore[abstract]  # as its base says of what it does not have
    return made


class _Entry(asyncio.TimerHandle):
    """A handle that knows its process. A run makes thousands: it has what the loop asks for, no more."""

    def __init__(self, when: float, callback: Any, args: Any, context: Context | None) -> None:
        self._when, self._callback, self._args = when, callback, args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self.process: Process | None = self._context.get(PROCESS)
        self.deferred = False  # its process was stopped when its time came

    def run(self) -> None:
        self._context.run(self._callback, *self._args)

    def cancel(self) -> None:
        """It is passed over when its time comes."""
        self._cancelled = True


class SimLoop(asyncio.AbstractEventLoop):
    """Runs what is ready in its order; then time jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = 0
        self._ready: deque[_Entry] = deque()
        self._timers: list[tuple[float, int, _Entry]] = []
        self._dropped: list[_Entry] = []  # of dead processes
        self._tasks: list[asyncio.Task[Any]] = []
        self._threads: list[Turns] = []
        self._idle: list[Carrier] = []
        self._burying = False
        self._failure: BaseException | None = None
        self._at_work: Turns | None = None  # the one whose turn it is

    # What asyncio asks of a loop

    def time(self) -> float:
        """Seconds since the start of the run."""
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> _Entry:  # type: ignore[override]  # a handle with a time is one
        entry = _Entry(self._now, callback, args, context)
        self._ready.append(entry)
        return entry

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # no two threads run at once

    def call_later(  # type: ignore[override]  # callers are as free as they are there
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        entry = _Entry(when, callback, args, context)
        self._push(when, entry)
        return entry

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **names: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **names)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # noqa: ARG002  # one kind of thread for all
        future = self.create_future()
        thread = Turns(self, lambda: func(*args), future)
        self._threads.append(thread)
        self.call_soon(thread.go_on)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        crash = Crash(f"{context.get('message')}: {error!r}")
        crash.__cause__ = error
        self.fail(crash)

    def fail(self, error: BaseException) -> None:
        """End the run with this, whatever the code at work makes of an exception."""
        if not self._burying and self._failure is None:
            self._failure = error

    # Running

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` is done. Raises Crash, and what `main` raises."""
        asyncio._set_running_loop(self)  # noqa: SLF001  # meant for whoever writes a loop
        try:
            task = self.create_task(main)
            while not task.done() and self._failure is None:
                if not self._turn():
                    raise Crash("nothing is left to run, and the world waits")
            if self._failure is not None:
                raise self._failure
            result: T = task.result()
            return result
        finally:
            try:
                self._bury()
            finally:
                asyncio._set_running_loop(None)  # noqa: SLF001  # as above

    def _turn(self) -> bool:
        if self._ready:
            entry = self._ready.popleft()
        elif self._timers:
            when, _, entry = heapq.heappop(self._timers)
            self._now = max(self._now, when)
        else:
            return False
        process = entry.process
        if entry.cancelled():
            return True
        if process is not None and process.dead and not self._burying:
            self._dropped.append(entry)
            return True
        if process is not None and process.stopped_until > self._now and not self._burying:
            entry.deferred = True
            self._push(process.stopped_until, entry)
            return True
        try:
            entry.run()
        except Exception as error:  # noqa: BLE001  # whatever it is, the run ends with it
            self.call_exception_handler({"message": "a callback failed", "exception": error})
        return True

    def _push(self, when: float, entry: _Entry) -> None:
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, entry))

    def _bury(self) -> None:
        """End what the run has left, without any effect: no timer runs any more, and all I/O is refused."""
        self._burying = True
        self._ready.extend(self._dropped)
        self._ready.extend(entry for _, _, entry in self._timers if entry.deferred)
        for thread in self._threads:
            thread.bury()
        for carrier in self._idle:
            carrier.end()
        for _ in range(50):
            self._timers.clear()
            left = [task for task in self._tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            while self._ready:
                self._turn()
        self._ready.clear()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # was seen

    @property
    def burying(self) -> bool:
        """Whether the run is over."""
        return self._burying

    def block(self, seconds: float) -> None:
        """Let the thread that calls it sleep. Raises Buried after the run."""
        if self._at_work is None:
            raise AssertionError("only what runs in a thread may block")
        self._at_work.block(seconds)

    # Threads

    def carrier(self) -> Carrier:
        """A real thread that has nothing to do."""
        return self._idle.pop() if self._idle else Carrier()

    def take_turns(self, thread: Turns, carrier: Carrier) -> None:
        """Let a thread work until it blocks or ends."""
        self._at_work = thread
        carrier.go()
        self._at_work = None

    def done_with(self, carrier: Carrier) -> None:
        """Its work is done."""
        self._idle.append(carrier)
