"""The app of completion: what came out of a job goes into its record, and the next job is admitted."""

from __future__ import annotations

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventing.codec import decode
from eventing.dispatch import dispatch
from eventing.events import TYPE_PREFIX, outcome_of
from functions import problems
from functions.bodies import read_body
from functions.health import Health
from functions.wiring import Wiring
from jobs.errors import JobNotFound
from jobs.job import ResultKind
from jobs.job_ids import is_job_id
from jobs.logs import trace_id

__all__ = ["create_app"]

_SOURCE = "/mochi/completion"  # of the CloudEvents that this function makes
_TYPES = frozenset(f"{TYPE_PREFIX}{kind}" for kind in ResultKind)

log = structlog.get_logger(__name__)


def create_app(wiring: Wiring) -> Starlette:
    """The app. Nothing is connected to before the first request."""
    health = Health(wiring)
    app = Starlette(
        routes=[
            Route("/", Completion(wiring).take, methods=["POST"]),
            Route("/healthz", health.ready),
            Route("/livez", health.live),
        ]
    )
    problems.install(app)
    return app


class Completion:
    """The handler."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def take(self, request: Request) -> Response:
        """204, also for an event that is not about the end of a job that we know.

        Raises InvalidEvent (it can never work) and StoreUnavailable (try again).
        """
        event = decode(dict(request.headers), await read_body(request))
        facts = {
            "job": event.subject,
            "attempt": event.extensions.get("attempt"),
            "queue": event.extensions.get("queue"),
            "trace": trace_id(event.extensions.get("traceparent", "")),
        }
        if event.type not in _TYPES:
            log.warning("event_ignored", type=event.type[:100], **facts)
            return Response(status_code=204)
        outcome = outcome_of(event)
        job_id = str(event.data["job_id"])
        try:
            if not is_job_id(job_id):
                raise JobNotFound(job_id)
            deliveries = await self._wiring.store.complete(job_id, outcome)
        except JobNotFound:
            log.warning("unknown_job", **facts)
            return Response(status_code=204)
        log.info("completed", outcome=str(outcome.kind), admitted=len(deliveries), **facts)
        # Before the answer: a pod without a request may be stopped at any time.
        await dispatch(self._wiring.store, self._wiring.publisher, _SOURCE, deliveries)
        return Response(status_code=204)
