"""`POST /`: a CloudEvent whose data is a request, of any type, answered with a CloudEvent.

The event's `source` and `id` make it idempotent, whatever its data: the same event is the same fact.
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from eventing.codec import decode, encode
from eventing.events import TYPE_PREFIX, Event
from functions.bodies import read_body
from functions.submit.submitter import SOURCE, Submitter
from functions.tracing import traceparent_of
from jobs.job import Job

__all__ = ["EventRoute"]


class EventRoute:
    """The handler."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter

    async def submit(self, request: Request) -> Response:
        """202 with `dev.mochi.generation.accepted`. Raises InvalidEvent and what a submission raises."""
        event = decode(dict(request.headers), await read_body(request))
        traceparent = traceparent_of(event.extensions.get("traceparent"), request.headers.get("traceparent"))
        submission = await self._submitter.submit(
            event.data, f"{event.source} {event.id}", traceparent, door="event", same_request=False
        )
        headers, body = encode(_accepted(submission.job))
        return Response(body, 202, headers)


def _accepted(job: Job) -> Event:
    """The same fact for the first event and for a repeated one: the same id and time."""
    extensions = {"queue": job.queue}
    if job.traceparent:
        extensions["traceparent"] = job.traceparent
    return Event(
        type=f"{TYPE_PREFIX}accepted",
        source=SOURCE,
        id=f"{job.id}:accepted:{job.created_us}",
        subject=job.id,
        time=datetime.fromtimestamp(job.created_us / 1e6, UTC),
        data=job.public(),
        extensions=extensions,
    )
