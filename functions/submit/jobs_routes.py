"""`/jobs`: submit, read, list and cancel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from eventing.dispatch import dispatch
from functions.bodies import decode_json, read_body, require_json
from functions.errors import CannotCancel
from functions.job_ids import job_id_of
from functions.submit.queries import parse_listing
from functions.submit.submitter import SOURCE, Submitter
from functions.tracing import traceparent_of
from functions.wiring import Wiring
from jobs.errors import FieldError, InvalidRequest
from jobs.job import Status
from jobs.logs import trace_id

__all__ = ["JobsRoutes"]

_MAX_KEY = 255  # characters

log = structlog.get_logger(__name__)


class JobsRoutes:
    """The handlers.

    They write JSON themselves: what they write is `Job.public()`, which a test holds to the models of the
    OpenAPI document, so that no answer is validated again while a client waits.
    """

    def __init__(self, wiring: Wiring, submitter: Submitter) -> None:
        self._wiring = wiring
        self._submitter = submitter

    async def submit(self, request: Request) -> Response:
        """Record a job: 202, also for a repeated Idempotency-Key, which an own header then says."""
        require_json(request)
        key = _idempotency_key(request)
        data = decode_json(await read_body(request))
        traceparent = traceparent_of(request.headers.get("traceparent"))
        submission = await self._submitter.submit(data, key, traceparent, door="http")
        headers = {"location": f"/jobs/{submission.job.id}"}
        if not submission.created:
            headers["idempotent-replayed"] = "true"
        return _json(submission.job.public(), 202, headers)

    async def get(self, request: Request) -> Response:
        """A job as it is now."""
        job = await self._wiring.store.get(job_id_of(request))
        return _json(job.public())

    async def list(self, request: Request) -> Response:
        """One page of jobs, newest first."""
        asked = parse_listing(request.query_params, tuple(self._wiring.settings.queues))
        page = await self._wiring.store.list_jobs(asked.status, asked.queue, asked.limit, asked.cursor)
        return _json({"jobs": [job.public() for job in page.jobs], "next_cursor": page.next_cursor})

    async def cancel(self, request: Request) -> Response:
        """200: the job is cancelled. 202: it is at work, and stops at its next step."""
        ended = await self._wiring.store.cancel(job_id_of(request))
        job = ended.job
        log.info(
            "cancel",
            job=job.id,
            queue=job.queue,
            attempt=job.attempt,
            status=str(job.status),
            trace=trace_id(job.traceparent),
        )
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, ended.deliveries)
        if job.status is Status.CANCELLED:
            return _json(job.public())
        if job.cancel_requested and not job.status.terminal:
            return _json(job.public(), 202)
        raise CannotCancel(job.id, job.status)


def _idempotency_key(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= _MAX_KEY or not all("!" <= c <= "~" for c in key):
        problem = "is given more than once" if len(keys) > 1 else "is no key"
        allowed = f"one key of 1 to {_MAX_KEY} visible ASCII characters"
        raise InvalidRequest([FieldError("Idempotency-Key", problem, allowed)])
    return key


def _json(data: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"cache-control": "no-store", **(headers or {})}
    return Response(body, status, headers, "application/json")
