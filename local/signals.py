"""One coroutine as the whole of a process, ended in order by Ctrl-C, SIGTERM or SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Ended", "run"]


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    code: int | None  # what the coroutine returned; None: it was interrupted
    signal: int | None  # the first signal that came


def run(main: Coroutine[Any, Any, int]) -> Ended:
    """Run `main` to its end. The first signal cancels it, once; further ones change nothing."""
    return asyncio.run(_run(main))


async def _run(main: Coroutine[Any, Any, int]) -> Ended:
    task = asyncio.create_task(main)
    received: list[int] = []

    def interrupt(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, interrupt, number)
    code: int | None = None
    with suppress(asyncio.CancelledError):
        code = await task
    return Ended(code, received[0] if received else None)
