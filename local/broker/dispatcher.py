"""Serves one Trigger: reads its stream, delivers what is owed, many at a time, and settles it.

An event leaves its stream only with its delivery settled. Whatever ends before that (this process, or
the connection to Redis) leaves the event pending, and it is delivered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from local.broker.delivery import Deliverer
from local.broker.events import WireEvent
from local.broker.hops import without_hops
from local.broker.routes import Route, Routes
from local.broker.streams import Entry, EventLog, StreamGone

__all__ = ["Dispatcher"]

_CONCURRENCY = 100  # deliveries of one Trigger at a time, their waits between tries included
_PAUSE = 1.0  # seconds between two tries to reach Redis

log = structlog.get_logger(__name__)


class Dispatcher:
    """The deliveries of one Trigger."""

    def __init__(self, route: Route, routes: Routes, events: EventLog, deliverer: Deliverer) -> None:
        self._route = route
        self._routes = routes
        self._events = events
        self._deliverer = deliverer
        self._at_work: dict[str, asyncio.Task[None]] = {}  # by entry

    async def run(self) -> None:
        """Deliver for ever. When cancelled, what is in flight is abandoned, and stays owed."""
        try:
            while True:
                await _until_done(self._serve, trigger=self._route.trigger)
        finally:
            tasks = list(self._at_work.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        """Deliver what is pending, then what comes, until the stream is gone or Redis is away.

        What a connection lost on its way to us is pending too: so that is not a matter of the start only.
        """
        await self._events.open(self._route)
        last = "0"
        try:
            while entries := await self._events.pending(self._route, last, await self._room()):
                self._start(entries)
                last = entries[-1].id
            while True:
                self._start(await self._events.new(self._route, await self._room()))
        except StreamGone:
            log.warning("stream_gone", trigger=self._route.trigger)

    async def _room(self) -> int:
        """How many deliveries may start; waits until one may."""
        while len(self._at_work) >= _CONCURRENCY:
            await asyncio.wait(self._at_work.values(), return_when=asyncio.FIRST_COMPLETED)
        return _CONCURRENCY - len(self._at_work)

    def _start(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.id not in self._at_work:
                task = asyncio.create_task(self._handle(entry), name=entry.id)
                self._at_work[entry.id] = task
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._at_work[task.get_name()]
        if not task.cancelled() and (error := task.exception()):
            # A defect of ours. The event stays owed, and comes again with the next start.
            log.error("delivery_broke", trigger=self._route.trigger, exc_info=error)

    async def _handle(self, entry: Entry) -> None:
        hops = entry.hops - 1
        reply = await self._deliverer.deliver(entry.event, self._route, hops)
        await self._settle(entry, reply and without_hops(reply), hops)

    async def _settle(self, entry: Entry, reply: WireEvent | None, hops: int) -> None:
        wanting = self._routes.wanting(self._route.broker, reply.attributes) if reply else ()

        async def settle() -> None:
            await self._events.settle(self._route, entry, reply, hops, wanting)

        # Not settled is delivered again, by the next process at the latest. Better now than then.
        await _until_done(settle, trigger=self._route.trigger, id=entry.event.attributes["id"])


async def _until_done(step: Callable[[], Awaitable[None]], **about: object) -> None:
    """Do it, again and again while Redis is away."""
    away = False
    while True:
        try:
            await step()
        except (RedisError, OSError) as error:
            if not away:
                log.warning("redis_away", reason=type(error).__name__, **about)
            away = True
            await asyncio.sleep(_PAUSE)
        else:
            return
