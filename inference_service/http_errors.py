"""How the predictor's HTTP routes say that something went wrong.

Two shapes: a problem document (RFC 9457) to the Broker, whose dead letters carry it, and so a short one, and
KServe's `{"error": …}` to callers of `:predict`.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from eventing.short_problems import short_problem
from jobs.errors import InvalidRequest, MochiError

__all__ = ["kserve_error", "problem"]


def problem(error: MochiError) -> Response:
    """A short problem document, with the wrong fields one by one where they fit."""
    found = {"type": error.slug, "title": error.title, "status": error.status, "detail": str(error)}
    body = short_problem({**found, **_fields(error)})
    return Response(body, error.status, _headers(error), "application/problem+json")


async def kserve_error(_request: Request, error: Exception) -> Response:
    """KServe's shape, with the wrong fields one by one. A Starlette exception handler."""
    assert isinstance(error, MochiError)  # noqa: S101  # it is registered for this class alone
    # ASCII: a name that a client made up may hold half a surrogate pair, which no UTF-8 can carry.
    body = json.dumps({"error": str(error), **_fields(error)}, separators=(",", ":")).encode("ascii")
    return Response(body, error.status, _headers(error), "application/json")


def _fields(error: MochiError) -> dict[str, object]:
    if not isinstance(error, InvalidRequest):
        return {}
    return {"errors": [{"field": e.field, "problem": e.problem, "allowed": e.allowed} for e in error.errors]}


def _headers(error: MochiError) -> dict[str, str]:
    return {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
