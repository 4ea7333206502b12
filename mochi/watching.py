"""Programs that follow a job: its event stream with reconnections, and the wait for its end.

No I/O: see `mochi.effects`. The clock is handed in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mochi.api import problem_of
from mochi.calls import Call, Calls
from mochi.effects import Emit, Open, Pause, Program, Reply, read, reply_to
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
from mochi.retry import RETRIED
from mochi.sse import Message, SseParser

__all__ = ["Watching", "body_of", "finished"]

#: Seconds without a byte, keepalive comments included, after which a stream counts as dead.
IDLE = 45.0
#: Seconds before the deadline from which the job is polled: a stream can only be left when it speaks.
TAIL = 15.0
#: The longest time in seconds between two polls, and between two connections that a server asks for.
POLL, PATIENCE = 1.0, 60.0
#: Bytes of an error's body that are read.
ERROR_LIMIT = 1024 * 1024


def finished(job: Job) -> Job:
    """The job, if it is completed. Raises JobFailed or JobCancelled."""
    if job.status is Status.FAILED:
        raise JobFailed(job)
    if job.status is Status.CANCELLED:
        raise JobCancelled(job)
    return job


@dataclass
class _Stream:
    """What outlives a connection."""

    last_id: str
    retry_ms: int = 0  # as the server asked
    accepted: bool = False  # the newest connection was answered with a stream
    fruitless: int = 0  # connections in a row on which nothing was heard


@dataclass(frozen=True)
class Watching:
    """Following a job. Raises what `Calls` raises, and Timeout."""

    calls: Calls
    clock: Callable[[], float] = field(default=time.monotonic)

    def watch(self, job_id: str, timeout: float | None, last_event_id: str) -> Program[Event, Job]:
        """Hand out each change of a job; returns the job, ended. `timeout` in seconds."""
        deadline = None if timeout is None else self.clock() + timeout
        stream = _Stream(last_event_id)
        while deadline is None or deadline - self.clock() > TAIL:
            try:
                job = yield from self._listen(job_id, stream, deadline)
            except (Unavailable, Unreachable) as error:
                yield Pause(self._pause_after(error, stream))
            else:
                if job is not None:
                    return job
        return (yield from self._poll(job_id, stream.last_id, deadline, timeout or 0.0))

    def wait(self, job_id: str, timeout: float | None) -> Call[Job]:
        """The completed job. Raises JobFailed, JobCancelled and Timeout."""
        program = self.watch(job_id, timeout, "")
        answer = None
        while True:
            try:
                effect = program.send(answer)
            except StopIteration as stop:
                return finished(stop.value)
            answer = None if isinstance(effect, Emit) else (yield effect)

    def _listen(self, job_id: str, stream: _Stream, deadline: float | None) -> Program[Event, Job | None]:
        """One connection, until the job's end (the job) or until it is time to poll (None).

        Raises Unreachable when the connection ends before either.
        """
        left = IDLE if deadline is None else min(IDLE, deadline - self.clock())
        stream.accepted = False
        stream.fruitless += 1
        reply = yield from reply_to(Open(self.calls.api.events(job_id, stream.last_id), idle=left))
        yield from _expect_stream(reply)
        stream.accepted = True
        parser = SseParser(stream.last_id)
        while chunk := (yield from read()):
            stream.fruitless = 0
            for message in parser.feed(chunk):
                stream.last_id = message.id
                event = _event(message)
                if event is None:
                    continue
                yield Emit(event)
                if event.status.terminal:
                    return event.job or (yield from self.calls.get(job_id))
            stream.last_id = parser.last_event_id
            stream.retry_ms = parser.retry_ms or stream.retry_ms
            if deadline is not None and deadline - self.clock() <= TAIL:
                return None
        raise Unreachable("the event stream ended before the job did")

    def _pause_after(self, error: Unavailable | Unreachable, stream: _Stream) -> float:
        asked = stream.retry_ms / 1000
        if isinstance(error, Unavailable):
            if error.status not in RETRIED:
                raise error
            asked = max(asked, error.retry_after or 0.0)
        gives_up = stream.fruitless >= self.calls.retry.reconnects and not stream.accepted
        if gives_up or asked > PATIENCE:
            raise error
        return self.calls.retry.pause_after(max(1, stream.fruitless), asked)

    def _poll(self, job_id: str, last_id: str, deadline: float | None, timeout: float) -> Program[Event, Job]:
        pause = POLL / 8
        while True:
            job = yield from self.calls.get(job_id)
            if str(job.version) != last_id:
                last_id = str(job.version)
                yield Emit(Event.parse(last_id, job.raw))
            if job.ended:
                return job
            left = (deadline or 0.0) - self.clock()
            if left <= 0:
                raise Timeout(job_id, timeout)
            yield Pause(min(pause, left))
            pause = min(2 * pause, POLL)


def _expect_stream(reply: Reply) -> Call[None]:
    if reply.status != 200:
        raise problem_of((yield from body_of(reply)))
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise UnexpectedAnswer("the server answered the request for events with something else")


def body_of(reply: Reply) -> Call[Reply]:
    """The opened reply with its body, as far as it came."""
    body = b""
    try:
        while len(body) < ERROR_LIMIT and (chunk := (yield from read())):
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
