"""The one mapper from errors to `application/problem+json` (RFC 9457), for all functions.

`install` gives it to an app: for errors that the system raises on purpose, for the framework's own (404,
405, …), and, in a middleware inside the app, for defects, of which only the log tells.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventing.short_problems import short_problem
from functions.errors import CannotCancel, InternalError, RangeNotSatisfiable
from jobs.errors import IdempotencyConflict, InvalidRequest, JobNotFound, MochiError, NotReady

__all__ = ["MEDIA_TYPE", "document", "install", "problem"]

MEDIA_TYPE = "application/problem+json"
#: A body full of unknown fields would otherwise be answered with one many times its size.
_MAX_ERRORS = 100

log = structlog.get_logger(__name__)


def document(error: MochiError) -> dict[str, Any]:
    """The problem document of an error, as JSON types."""
    found: dict[str, Any] = {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": str(error),
    }
    match error:
        case InvalidRequest():
            shown = error.errors[:_MAX_ERRORS]
            more = len(error.errors) - len(shown)
            found["detail"] = str(InvalidRequest(shown)) + (f"; and {more} more" if more else "")
            found["errors"] = [{"field": e.field, "problem": e.problem, "allowed": e.allowed} for e in shown]
        case NotReady() | CannotCancel():
            found |= {"job_id": error.job_id, "job_status": error.job_status}
        case JobNotFound() | IdempotencyConflict():
            found["job_id"] = error.job_id[:64]
    return found


def problem(error: MochiError, *, short: bool = False) -> Response:
    """The answer to an error; a `short` one to a Broker."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if isinstance(error, RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    return _answer(document(error), headers, short=short)


def install(app: Starlette) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(MochiError, _on_purpose)
    app.add_exception_handler(HTTPException, _of_the_framework)
    app.add_middleware(_Defects)


async def _on_purpose(request: Request, error: Exception) -> Response:
    assert isinstance(error, MochiError)  # noqa: S101  # it is registered for this class alone
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("unavailable", path=request.url.path, problem=error.slug, reason=str(error))
    # A Broker asks for a reply; others want to see all that is wrong.
    return problem(error, short=request.headers.get("prefer", "").strip().lower() == "reply")


async def _of_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for this class alone
    phrase = HTTPStatus(error.status_code).phrase
    detail, headers = error.detail, dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_allowed(request))}
        detail = f"{request.method} is not allowed here; {headers['allow']} are"
    elif error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path[:200]}"
    found = {"type": "about:blank", "title": phrase, "status": error.status_code, "detail": detail}
    return _answer(found, headers)


def _allowed(request: Request) -> list[str]:
    # Starlette names the methods of the first route of a path; a path may have several.
    routes = [r for r in request.app.routes if r.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in route.methods})


def _answer(found: dict[str, Any], headers: dict[str, str], *, short: bool = False) -> Response:
    # ASCII: a name that a client made up may hold half a surrogate pair, which no UTF-8 can carry.
    body = short_problem(found) if short else json.dumps(found, separators=(",", ":")).encode("ascii")
    return Response(body, found["status"], {**headers, "cache-control": "no-store"}, MEDIA_TYPE)


class _Defects:
    """Catches what nothing else caught: logged once with its traceback, answered without its text.

    It sits inside the app: functions-framework would log the error twice and answer with plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watching(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except ClientDisconnect:
            log.info("client_left", path=scope.get("path"))
        except Exception as error:
            if started and isinstance(error.__cause__, MochiError):
                # The status is out: all that can be said is a connection that ends too early.
                log.warning("cut_off", path=scope.get("path"), reason=str(error.__cause__))
                return
            log.exception("defect", path=scope.get("path"), method=scope.get("method"))
            if not started:
                answer = problem(InternalError("something went wrong on our side; the log says what"))
                await answer(scope, receive, send)
