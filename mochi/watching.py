"""Following a job: its event stream with reconnections, and polling where no stream can be had.

Written over a Wire: see `mochi.wire`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from mochi.api import problem_of
from mochi.calls import Calls
from mochi.errors import (
    JobCancelled,
    JobFailed,
    MochiClientError,
    Timeout,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from mochi.models import Event, Job, Status
from mochi.retry import Patience
from mochi.sse import Message, SseParser
from mochi.wire import Reply, Wire

__all__ = ["body_of", "finished", "wait", "watch"]

#: Seconds without a byte, of which a comment comes every 15 s, after which a stream counts as dead.
IDLE = 35.0
#: Streams in a row that were granted and stayed silent, after which the job is polled: a proxy keeps
#: what it should pass on.
SILENT = 2
#: Seconds before the deadline from which the job is polled: a stream can only be left when it speaks.
TAIL = 15.0
#: The longest time in seconds between two polls.
POLL = 1.0
#: Bytes of an error's body that are read.
ERROR_LIMIT = 1024 * 1024


def finished(job: Job) -> Job:
    """The job, if it is completed. Raises JobFailed or JobCancelled."""
    if job.status is Status.FAILED:
        raise JobFailed(job)
    if job.status is Status.CANCELLED:
        raise JobCancelled(job)
    return job


async def wait(calls: Calls, job_id: str, timeout: float | None) -> Job:  # noqa: ASYNC109 - as Client.wait
    """The completed job. Raises JobFailed, JobCancelled, and Timeout after `timeout` seconds."""
    last: Event | None = None
    async with aclosing(watch(calls, job_id, timeout, "")) as events:
        async for event in events:
            last = event
    return finished(last.job if last and last.job else await calls.get(job_id))


async def watch(
    calls: Calls,
    job_id: str,
    timeout: float | None,  # noqa: ASYNC109 - as Client.watch
    last_event_id: str,
) -> AsyncGenerator[Event, None]:
    """Each change of a job to its end. Raises what `Calls` raises, and Timeout after `timeout` seconds."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    stream = _Stream(last_event_id)
    patience = Patience(calls.retry)
    while deadline - time.monotonic() > TAIL and stream.silent < SILENT:
        try:
            async with aclosing(_listen(calls, job_id, stream, patience, deadline)) as events:
                async for event in events:
                    yield event
                    if event.status.terminal:
                        return
        except UnexpectedAnswer:
            break  # no stream of ours; polling tells what is there
        except (Unavailable, Unreachable) as error:
            pause = patience.pause_after(error, stream.retry_ms / 1000)
            await calls.wire.pause(min(pause, max(0.0, deadline - TAIL - time.monotonic())))
    async with aclosing(_poll(calls, job_id, stream.last_id, deadline)) as events:
        async for event in events:
            yield event
            if event.status.terminal:
                return
    raise Timeout(job_id, timeout or 0.0)


@dataclass
class _Stream:
    """What outlives a connection."""

    last_id: str
    retry_ms: int = 0  # as the server asked
    silent: int = 0  # streams in a row that were granted and on which nothing was heard


async def _listen(
    calls: Calls, job_id: str, stream: _Stream, patience: Patience, deadline: float
) -> AsyncGenerator[Event, None]:
    """The events of one connection, until the deadline is near.

    Raises Unreachable when the connection ends before that, and UnexpectedAnswer where it is no stream.
    """
    wire, request = calls.wire, calls.api.events(job_id, stream.last_id)
    reply = await wire.open(request, min(IDLE, deadline - time.monotonic()))
    await _expect_stream(wire, reply)
    stream.silent += 1
    parser = SseParser(stream.last_id)
    while chunk := await wire.read():
        stream.silent = 0
        patience.progress()
        for message in parser.feed(chunk):
            stream.last_id = message.id
            event = _event(message)
            if event is not None:
                yield event
        stream.last_id = parser.last_event_id
        stream.retry_ms = parser.retry_ms or stream.retry_ms
        if deadline - time.monotonic() <= TAIL:
            return
    raise Unreachable("the event stream ended before the job did")


async def _poll(calls: Calls, job_id: str, last_id: str, deadline: float) -> AsyncGenerator[Event, None]:
    """The changes that polling sees, until the deadline."""
    once = replace(calls, retry=replace(calls.retry, attempts=1))  # the pauses here know the deadline
    patience, pause = Patience(calls.retry), POLL / 8
    while True:
        asked = 0.0
        try:
            job = await once.get(job_id)
        except (Unavailable, Unreachable) as error:
            asked = patience.pause_after(error)
        else:
            patience.progress()
            if str(job.version) != last_id or job.ended:
                last_id = str(job.version)
                yield Event.parse(last_id, job.raw)
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await calls.wire.pause(min(max(pause, asked), left))
        pause = min(2 * pause, POLL)


async def _expect_stream(wire: Wire, reply: Reply) -> None:
    if reply.status != 200:
        raise problem_of(await body_of(wire, reply))
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise UnexpectedAnswer("the server answered the request for events with something else")


async def body_of(wire: Wire, reply: Reply) -> Reply:
    """The opened reply with its body, as far as it came."""
    body = b""
    try:
        while len(body) < ERROR_LIMIT and (chunk := await wire.read()):
            body += chunk
    except Unreachable:
        return reply  # its status says enough
    return Reply(reply.status, reply.headers, body)


def _event(message: Message) -> Event | None:
    """The event about a job that a message is, or None: other messages are for other clients."""
    try:
        data = json.loads(message.data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not {"job_id", "status"} <= data.keys():
        return None
    try:
        return Event.parse(message.id, data)
    except MochiClientError:
        if message.event in set(Status):
            raise  # the end of the job, and it cannot be read
        return None
