"""Reading the body of a request: never more of it than the predictor takes."""

from __future__ import annotations

from starlette.requests import Request

from jobs.errors import FieldError, InvalidRequest

__all__ = ["BODY_LIMIT", "read_body"]

#: Bytes, as many as submit takes. A call is one request, tensors around its fields are small; an event has
#: a few hundred.
BODY_LIMIT = 64 * 1024


async def read_body(request: Request, refusal: type[InvalidRequest] = InvalidRequest) -> bytes:
    """The whole body. Raises `refusal` as soon as it is known to be too large, and ClientDisconnect."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise refusal([FieldError("body", "is too large", f"at most {BODY_LIMIT} bytes")])
    return body
