"""What KServe's own routes get wrong for us.

Its repository extension lets anyone who reaches the server unload the one model that it is there for, and
nothing loads it again: the pod would stay up, never ready. And a call whose shape is wrong is answered
with what was sent, which fails where that is no JSON (NaN, half a surrogate pair).
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from inference_service.errors import NotServed
from inference_service.http_errors import kserve_error
from inference_service.v2_requests import shape_faults
from jobs.errors import InvalidRequest, MochiError

__all__ = ["add_kserve_rules"]


def add_kserve_rules(app: FastAPI) -> None:
    """Shadow the repository extension, name wrong fields. Before KServe adds its routes: the first wins."""
    app.add_route("/v2/repository/{rest:path}", _not_served, methods=["GET", "POST"])
    app.add_exception_handler(MochiError, kserve_error)
    app.add_exception_handler(RequestValidationError, _wrong_shape)


async def _not_served(_request: Request) -> Response:
    raise NotServed("this server has one model, which it loads at its start and keeps")


async def _wrong_shape(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # it is registered for this class alone
    return await kserve_error(request, InvalidRequest(shape_faults(error.errors())))
