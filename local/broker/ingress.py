"""The HTTP side of the Brokers: `POST /{namespace}/{broker}`, as Knative's data-plane specification has it.

202 once the event is in Redis, 400 for what is no CloudEvent, 404 for an unknown Broker, 405 for other
methods, 413 beyond 1 MiB, 503 while Redis takes no writes. Errors are `application/problem+json`.
"""

from __future__ import annotations

import json

import structlog
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from local.broker.delivery import facts
from local.broker.events import NotACloudEvent, read_event
from local.broker.hops import hops_of, without_hops
from local.broker.routes import Routes
from local.broker.streams import EventLog

__all__ = ["create_app"]

_MAX_BODY = 1024 * 1024  # bytes
_RETRY_AFTER = "2"  # seconds

log = structlog.get_logger(__name__)


def create_app(routes: Routes, events: EventLog) -> Starlette:
    """The app. Nothing is connected to before the first request."""
    ingress = _Ingress(routes, events)
    app = Starlette(
        routes=[
            HttpRoute("/healthz", ingress.health),
            HttpRoute("/{namespace}/{broker}", ingress.accept, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error, NotACloudEvent: _no_event, RedisError: _away},
    )
    app.router.redirect_slashes = False
    return app


class _Ingress:
    def __init__(self, routes: Routes, events: EventLog) -> None:
        self._routes = routes
        self._events = events

    async def accept(self, request: Request) -> Response:
        broker = f"{request.path_params['namespace']}/{request.path_params['broker']}"
        if broker not in self._routes.by_broker:
            raise HTTPException(404, f"there is no Broker {broker[:100]!r} here")
        event = read_event(request.headers, await _body(request))
        hops, event = hops_of(event), without_hops(event)
        wanting = self._routes.wanting(broker, event.attributes)
        await self._events.append(event, hops, wanting)
        log.debug("accepted", triggers=len(wanting), **facts(event, broker))
        return Response(status_code=202)

    async def health(self, _request: Request) -> Response:
        await self._events.ping()
        return Response("ok", media_type="text/plain")


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not declared.isdigit() or int(declared) <= _MAX_BODY:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                break
        else:
            return bytes(body)
    raise HTTPException(413, f"an event may have {_MAX_BODY} bytes")


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # the type that it is registered for
    return _problem(error.status_code, "about:blank", error.detail, dict(error.headers or {}))


def _no_event(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotACloudEvent)  # noqa: S101  # the type that it is registered for
    errors = [{"field": e.field, "problem": e.problem, "allowed": e.allowed} for e in error.errors]
    return _problem(error.status, error.slug, str(error), title=error.title, errors=errors)


def _away(_request: Request, error: Exception) -> Response:
    log.warning("refused", reason=type(error).__name__)
    detail = "Redis takes no events now; try again"
    return _problem(503, "about:blank", detail, {"Retry-After": _RETRY_AFTER})


def _problem(
    status: int, slug: str, detail: str, headers: dict[str, str] | None = None, **more: object
) -> Response:
    document = {"type": slug, "status": status, "detail": detail, **more}
    return Response(json.dumps(document), status, headers, media_type="application/problem+json")
