"""Asks the reaper for a round when there may be something to mend, instead of at the next full minute.

That is so at the start, and when the predictor is ready again after its death: some events may be due, a
pool that was paused for its absence goes on after ten seconds, and a lease that somebody took into the grave
ends a lease's time later.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

__all__ = ["Nudges"]

_PAUSE = 10.0  # seconds of a pool's first pause
_LATER = 1.0  # seconds behind the end of either
_PATIENCE = 10.0  # seconds for an answer; a round of the reaper that takes longer goes on


class Nudges:
    """Use it as an asynchronous context manager."""

    def __init__(self, url: str, lease_seconds: float) -> None:
        """`url`: of the reaper."""
        self._url = url
        self._moments = sorted((0.0, _PAUSE + _LATER, lease_seconds + _LATER))
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Nudges:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self) -> None:
        """Ask now, and when a pause or a lease of now is over."""
        task = asyncio.create_task(self._ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self) -> None:
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            began = asyncio.get_running_loop().time()
            for moment in self._moments:
                await asyncio.sleep(began + moment - asyncio.get_running_loop().time())
                with suppress(httpx.HTTPError):  # the PingSource asks each minute
                    await client.post(self._url)
