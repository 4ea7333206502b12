"""Accepted events in Redis: one stream for each Trigger, with one consumer group, until they are settled.

An event is written into the stream of every Trigger that wants it, all at once, before it is accepted.
Settling an event and recording the reply to it is one transaction. A settled entry is deleted: a stream
holds what is owed and no more. What was handed out and never settled is pending in its group, and is
handed out again by a reader that starts at the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from local.broker.events import WireEvent
from local.broker.routes import Route

__all__ = ["BLOCK_SECONDS", "Entry", "EventLog", "StreamGone"]

BLOCK_SECONDS = 20  # a reader waits for so long at a time; an idle broker wakes as often
_GROUP = "trigger"
_CONSUMER = "broker"  # one name for ever: what a dead process had pending is its successor's at once
_REGISTER = "broker:triggers"  # the streams that exist
_WRITE_SECONDS = 5  # until Redis is taken to be away
_WRITERS = 16  # connections


class StreamGone(Exception):
    """The stream or its group is not there (any more): make it, and start at the beginning."""


@dataclass(frozen=True)
class Entry:
    """An event that is owed to a Trigger."""

    id: str  # of the stream entry
    event: WireEvent
    hops: int  # replies that may still follow one another


class EventLog:
    """The streams. Methods raise redis.exceptions.RedisError while Redis is away or takes no writes.

    Commands whose methods are typed `Awaitable | value` go through a pipeline, which is typed as awaitable.
    """

    def __init__(self, redis_url: str) -> None:
        # One retry at once: a pooled connection may have died with the last Redis process.
        retry = Retry(NoBackoff(), 1)
        self._writing = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                redis_url,
                max_connections=_WRITERS,
                timeout=_WRITE_SECONDS,
                socket_timeout=_WRITE_SECONDS,
                socket_connect_timeout=_WRITE_SECONDS,
                retry=retry,
            )
        )
        self._reading = Redis.from_url(
            redis_url,
            socket_timeout=BLOCK_SECONDS + _WRITE_SECONDS,
            socket_connect_timeout=_WRITE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    async def ping(self) -> None:
        """Whether Redis is there."""
        async with self._writing.pipeline(transaction=False) as pipe:
            pipe.ping()
            await pipe.execute()

    async def append(self, event: WireEvent, hops: int, routes: Sequence[Route]) -> None:
        """Write the event for each of the routes, or for none. It is accepted once this returns."""
        if not routes:
            return
        async with self._writing.pipeline(transaction=len(routes) > 1) as pipe:
            _add(pipe, event, hops, routes)
            await pipe.execute()

    async def settle(
        self, route: Route, entry: Entry, reply: WireEvent | None, hops: int, routes: Sequence[Route]
    ) -> None:
        """The event is delivered or given up, and the reply to it is accepted: both or neither."""
        async with self._writing.pipeline(transaction=True) as pipe:
            if reply is not None:
                _add(pipe, reply, hops, routes)
            pipe.xack(_key(route.trigger), _GROUP, entry.id)
            pipe.xdel(_key(route.trigger), entry.id)
            await pipe.execute()

    async def open(self, route: Route) -> None:
        """Make the Trigger's stream and group, unless they are there. Nothing in the stream is skipped."""
        try:
            await self._writing.xgroup_create(_key(route.trigger), _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        async with self._writing.pipeline(transaction=False) as pipe:
            pipe.sadd(_REGISTER, _key(route.trigger))
            await pipe.execute()

    async def remove_others(self, routes: Iterable[Route]) -> list[str]:
        """Delete the streams of Triggers that are no more; the names of their keys."""
        wanted = {_key(route.trigger) for route in routes}
        async with self._writing.pipeline(transaction=False) as pipe:
            pipe.smembers(_REGISTER)
            (known,) = await pipe.execute()
            gone = sorted(key.decode() for key in known if key.decode() not in wanted)
            if gone:
                pipe.delete(*gone)
                pipe.srem(_REGISTER, *gone)
                await pipe.execute()
        return gone

    async def pending(self, route: Route, after: str, count: int) -> list[Entry]:
        """What was handed out and not settled, from behind the entry `after` on ("0": all of it).

        Raises StreamGone.
        """
        return await self._read(route, after, count, None)

    async def new(self, route: Route, count: int) -> list[Entry]:
        """What was never handed out; waits up to BLOCK_SECONDS for some. Raises StreamGone."""
        return await self._read(route, ">", count, BLOCK_SECONDS * 1000)

    async def _read(self, route: Route, after: str, count: int, block: int | None) -> list[Entry]:
        key = _key(route.trigger)
        try:
            answer = await self._reading.xreadgroup(_GROUP, _CONSUMER, {key: after}, count=count, block=block)
        except ResponseError as error:
            if str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise StreamGone from None
            raise
        found: list[tuple[bytes, dict[bytes, bytes]]] = answer[0][1] if answer else []
        entries = [_entry(entry_id, fields) for entry_id, fields in found if fields]
        if gone := [entry_id for entry_id, fields in found if not fields]:
            await self._writing.xack(key, _GROUP, *gone)  # deleted, and still pending
        return entries

    async def aclose(self) -> None:
        """Close the connections."""
        await self._writing.aclose(close_connection_pool=True)
        await self._reading.aclose()


def _key(trigger: str) -> str:
    return f"broker:events:{trigger}"


def _add(pipe: Pipeline, event: WireEvent, hops: int, routes: Sequence[Route]) -> None:
    fields: dict[Any, Any] = {
        "attributes": json.dumps(event.attributes, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        ),
        "data": event.data,
        "hops": hops,
    }
    for route in routes:
        pipe.xadd(_key(route.trigger), fields)


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    attributes = json.loads(fields[b"attributes"].decode("utf-8", "surrogatepass"))
    return Entry(entry_id.decode(), WireEvent(attributes, fields[b"data"]), int(fields[b"hops"]))
