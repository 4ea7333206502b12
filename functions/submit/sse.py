"""`GET /jobs/{id}/events`: a job's changes as server-sent events.

An event's `id` is the version of the change, which `Last-Event-ID` resumes after. Its name is `status`
where the status or the phase changed, `progress` within a phase, and `completed`, `failed` or `cancelled`
for the last one, after which the stream ends. Its data is a small JSON object; the last one's is the
whole job. A comment every 15 s keeps proxies from cutting a quiet stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import Request
from starlette.responses import Response

from functions.job_ids import job_id_of
from functions.submit.streams import ClosingStreamingResponse
from functions.wiring import Wiring
from jobs.errors import FieldError, InvalidRequest, JobNotFound, StoreUnavailable
from jobs.job import Change, rfc3339

__all__ = ["EventStreams", "event_stream", "last_event_id"]

KEEPALIVE_SECONDS = 15.0
#: No version is above it: Redis' scripts count in doubles.
_MAX_VERSION = 2**53 - 1
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

log = structlog.get_logger(__name__)


class EventStreams:
    """The handler."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def follow(self, request: Request) -> Response:
        """The changes after `Last-Event-ID`, and then those to come."""
        job_id = job_id_of(request)
        after = last_event_id(request.headers.get("last-event-id"))
        # Before the stream begins, so that an unknown job is a 404 and no empty stream.
        job = await self._wiring.store.get(job_id)
        if after == job.version and job.status.terminal:
            # An EventSource comes back after the end of every stream; 204 tells it that all was said.
            return Response(status_code=204)
        # An id from the future is of a version that Redis lost in a power cut: all is told again.
        changes = self._wiring.store.follow(job_id, after if after <= job.version else 0)
        stream = event_stream(changes, KEEPALIVE_SECONDS)
        return ClosingStreamingResponse(stream, headers=_HEADERS, media_type="text/event-stream")


def last_event_id(header: str | None) -> int:
    """The version to resume after; 0 where the header is absent or empty. Raises InvalidRequest."""
    text = (header or "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= _MAX_VERSION):
        error = FieldError("Last-Event-ID", f"{text[:40]!r} is no id of an event", "digits, as in `id:`")
        raise InvalidRequest([error])
    return int(text)


async def event_stream(changes: AsyncIterator[Change], keepalive: float) -> AsyncGenerator[bytes, None]:
    """The bytes of the stream, with a comment after each `keepalive` seconds without a change.

    Ends early where the store is away or the job has expired: an EventSource then asks again.
    """
    upcoming: asyncio.Task[Change] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.create_task(_next(changes))
            done, _ = await asyncio.wait({upcoming}, timeout=keepalive)
            if not done:
                yield KEEPALIVE_COMMENT
                continue
            change, upcoming = upcoming.result(), None
            yield _encoded(change)
    except _Ended:
        return
    except (StoreUnavailable, JobNotFound) as error:
        log.warning("event_stream_cut", reason=str(error))
    finally:
        if upcoming is not None and not upcoming.done():
            upcoming.cancel()
            with suppress(asyncio.CancelledError):
                await upcoming
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()


class _Ended(Exception):
    """The changes are over: what stands for StopAsyncIteration, which no task can raise."""


async def _next(changes: AsyncIterator[Change]) -> Change:
    try:
        return await anext(changes)
    except StopAsyncIteration:
        raise _Ended from None


def _encoded(change: Change) -> bytes:
    data = change.job.public() if change.status.terminal else _small(change)
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return format_sse_event(data_str=text, event=_name(change), id=str(change.version))


def _name(change: Change) -> str:
    if change.status.terminal:
        return str(change.status)
    newest_first = reversed(change.job.milestones)
    return "status" if any(m.version == change.version for m in newest_first) else "progress"


def _small(change: Change) -> dict[str, Any]:
    steps = change.job.spec.num_inference_steps
    return {
        "job_id": change.job.id,
        "status": str(change.status),
        "phase": str(change.phase) if change.phase else None,
        "attempt": change.attempt,
        "step": change.step,
        "steps": steps,
        "progress": round(change.step / steps, 4),
        "at": rfc3339(change.at_us),
    }
