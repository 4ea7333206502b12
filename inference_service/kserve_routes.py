"""What KServe's own routes get wrong for us.

Its repository extension lets anyone who reaches the server unload the one model that it is there for, and
nothing loads it again: the pod would stay up, never ready. A call whose shape is wrong is answered
with what was sent, which fails where that is no JSON (NaN, half a surrogate pair). And a body is read
however long it is: parsing one of a gigabyte takes the pod's memory, or its time for the probes.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_service.bodies import read_body
from inference_service.errors import NotServed
from inference_service.http_errors import kserve_error
from inference_service.v2_requests import shape_faults
from jobs.errors import InvalidRequest, MochiError

__all__ = ["add_kserve_rules"]


def add_kserve_rules(app: FastAPI) -> None:
    """Shadow the repository extension, name wrong fields, refuse large bodies.

    Before KServe adds its routes: the first wins.
    """
    app.add_middleware(_Bounded)
    app.add_route("/v2/repository/{rest:path}", _not_served, methods=["GET", "POST"])
    app.add_exception_handler(MochiError, kserve_error)
    app.add_exception_handler(RequestValidationError, _wrong_shape)


async def _not_served(_request: Request) -> Response:
    raise NotServed("this server has one model, which it loads at its start and keeps")


async def _wrong_shape(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # it is registered for this class alone
    return await kserve_error(request, InvalidRequest(shape_faults(error.errors())))


class _Bounded:
    """Reads the body of a call before KServe does, and no more of it than a call has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `/events` reads its own, and listens whether its caller is still there.
        if scope["type"] == "http" and scope["path"] != "/events":
            try:
                receive = _again(await read_body(Request(scope, receive)), receive)
            except ClientDisconnect:
                return
            except InvalidRequest as error:
                answer = await kserve_error(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read already, and then what comes after it."""
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received
