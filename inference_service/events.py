"""`POST /events`: the route that the Triggers send `requested` and `continued` to.

Decode, hand over to the predictor, encode the reply. The answer is 200 with a CloudEvent, 204 when there
is nothing to say, 400 for what can never work, 503 for what may work later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from eventing.codec import InvalidEvent, decode, encode
from eventing.events import TYPE_PREFIX, Event, event_for
from inference_service.bodies import read_body
from inference_service.errors import InternalError, NotLoaded
from inference_service.http_errors import problem
from inference_service.predict import SOURCE, Predictor
from jobs.errors import FieldError, MochiError
from jobs.job import Delivery, EventKind
from jobs.job_ids import JOB_ID_RULE, is_job_id

__all__ = ["add_events_route"]

#: Redis' scripts count in doubles, and Python refuses thousands of digits.
_DELIVERY = re.compile(r"[0-9]{1,16}")
_TYPES = tuple(f"{TYPE_PREFIX}{kind}" for kind in (EventKind.REQUESTED, EventKind.CONTINUED))

log = structlog.get_logger(__name__)


def add_events_route(app: Starlette, predictor: Callable[[], Predictor | None]) -> None:
    """Add the route. `predictor` gives None until the model is loaded."""

    async def events(request: Request) -> Response:
        try:
            at_work = predictor()
            if at_work is None:
                raise NotLoaded("the model is still being loaded")
            return await _answer(request, at_work)
        except MochiError as error:
            log.warning("event_refused", status=error.status, reason=str(error))
            return problem(error)
        except Exception:
            log.exception("event_failed")
            return problem(InternalError("the predictor failed; its log says how"))

    app.add_route("/events", events, methods=["POST"])


async def _answer(request: Request, predictor: Predictor) -> Response:
    event = decode(dict(request.headers), await read_body(request, InvalidEvent))
    job_id, delivery = _wanted(event)
    work = asyncio.create_task(predictor.handle(job_id, delivery))
    reply = await _unless_gone(request, work, predictor)
    if reply is None:
        return Response(status_code=204)
    headers, body = encode(event_for(reply, SOURCE))
    return Response(body, 200, headers)


async def _unless_gone(
    request: Request, work: asyncio.Task[Delivery | None], predictor: Predictor
) -> Delivery | None:
    """The reply; None when the connection that waits for it went first: then it is published."""
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not work.done():  # the connection is gone, or the server cancels what is in flight
            log.info("connection_lost", task=work.get_name())
            predictor.publish_when_done(work)
    return work.result() if work.done() else None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _wanted(event: Event) -> tuple[str, int]:
    """The job that the event wants done, and which delivery of it this is (0: it does not say)."""
    faults = []
    if event.type not in _TYPES:
        faults.append(FieldError("type", f"{event.type[:100]!r} is not handled here", " and ".join(_TYPES)))
    job_id = event.data.get("job_id")
    if not is_job_id(job_id):
        faults.append(FieldError("data.job_id", "is no job id", f"a string of {JOB_ID_RULE}"))
    if faults:
        raise InvalidEvent(faults)
    delivery = event.extensions.get("delivery", "")
    return str(job_id), int(delivery) if _DELIVERY.fullmatch(delivery) else 0
