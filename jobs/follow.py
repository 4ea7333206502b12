"""Watching jobs: one Pub/Sub connection for all watchers of a store.

A message only says "look again"; what is seen is read from the record, which keeps the milestones. So
nothing is missed when a message is lost, and a slow watcher holds one flag, not a queue of messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from jobs.job import Change, Job, Milestone, Phase

__all__ = ["Watch", "follow_job"]

_SUBSCRIBE_SECONDS = 1.0  # to wait for the subscription before the first look
_LOOK_SECONDS = 5.0  # between two looks when no message comes
_SILENCE_SECONDS = 20.0  # after which the connection is asked whether it lives
_PAUSES = (0.1, 0.5, 2.0)  # seconds before the next try to connect

#: Phases that begin with no step done.
_BEFORE_STEPS = frozenset({Phase.WAITING, Phase.STARTING, Phase.ENCODING_PROMPT, Phase.DENOISING})

log = structlog.get_logger(__name__)


class Watch:
    """Flags of watchers, raised when their job has changed."""

    def __init__(self, connect: Callable[[], AbstractConnection]) -> None:
        self._connect = connect
        self._flags: dict[str, set[asyncio.Event]] = {}  # by channel
        self._confirmed: set[str] = set()  # channels that Redis said to be subscribed
        self._connection: AbstractConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection. Watchers that are left see only what they look for themselves."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @asynccontextmanager
    async def of(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """A flag that is raised once the job's changes are subscribed to, and with each change."""
        channel, flag = f"job:{job_id}", asyncio.Event()
        flags = self._flags.setdefault(channel, set())
        flags.add(flag)
        try:
            if channel in self._confirmed:
                flag.set()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._listen(), name="job-changes")
            elif len(flags) == 1:
                await self._say("SUBSCRIBE", channel)
            yield flag
        finally:
            flags.discard(flag)
            if not flags and self._flags.get(channel) is flags:
                del self._flags[channel]
                self._confirmed.discard(channel)
                await self._say("UNSUBSCRIBE", channel)

    async def _say(self, *command: str) -> None:
        async with self._writing:
            connection = self._connection
            if connection is not None:
                # A broken connection is noticed where it is read, and all channels are subscribed anew.
                with suppress(RedisError, OSError):
                    await connection.send_command(*command, check_health=False)

    async def _listen(self) -> None:
        failures = 0
        while self._flags:
            connection = self._connect()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]  # redis has no types for it
                self._connection = connection
                await self._say("SUBSCRIBE", *self._flags)
                failures = 0
                await self._read(connection)
            except (RedisError, OSError) as error:
                failures += 1
                log.warning("watching_interrupted", reason=str(error), failures=failures)
            finally:
                self._connection = None
                self._confirmed.clear()
                await connection.disconnect()
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])

    async def _read(self, connection: AbstractConnection) -> None:
        asked = False
        while True:
            message: Any = await connection.read_response(timeout=_SILENCE_SECONDS, disconnect_on_error=False)
            if message is None:
                if asked:
                    raise ConnectionError("the server is silent")
                await self._say("PING")
                asked = True
                continue
            asked = False
            if not isinstance(message, list):  # PONG, where nothing is subscribed to
                continue
            kind, channel = message[0], message[1]
            if kind == "subscribe" and channel in self._flags:
                self._confirmed.add(channel)
            for flag in self._flags.get(channel, ()):
                flag.set()


async def follow_job(
    watch: Watch, read: Callable[[str], Awaitable[Job]], job_id: str, after: int
) -> AsyncIterator[Change]:
    """Changes of the job with versions above `after`, until it has ended; see JobStore.follow."""
    async with watch.of(job_id) as flag:
        await _raised(flag, _SUBSCRIBE_SECONDS)
        flag.clear()
        job = await read(job_id)
        # Versions above the newest one were lost with Redis' last second: go on from what there is.
        after = min(after, job.version)
        while True:
            for change in _changes(job, after):
                yield change
                after = change.version
            if job.status.terminal:
                return
            await _raised(flag, _LOOK_SECONDS)
            flag.clear()
            job = await read(job_id)


async def _raised(flag: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(flag.wait(), seconds)


def _changes(job: Job, after: int) -> Iterator[Change]:
    """The job's milestones after a version, then where it is now, if that is newer."""
    newest = after
    for m in job.milestones:
        if m.version > after:
            newest = m.version
            yield Change(m.version, m.at_us, m.status, m.phase, m.attempt, _step(job, m), job)
    if job.version > newest:
        yield Change(job.version, job.updated_us, job.status, job.phase, job.attempt, job.step, job)


def _step(job: Job, milestone: Milestone) -> int:
    # What is past keeps no step of its own: before the end of the denoising it counts as its beginning.
    return job.step if milestone.version == job.version or milestone.phase not in _BEFORE_STEPS else 0
