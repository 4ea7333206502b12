"""Reading the body of a request: never more of it than a function takes."""

from __future__ import annotations

from starlette.requests import Request

from eventing.payload import json_of, media_type
from functions.errors import BodyTooLarge, WrongContentType
from jobs.errors import FieldError, InvalidRequest

__all__ = ["BODY_LIMIT", "decode_json", "read_body", "require_json"]

#: Bytes. A request with two prompts of 2000 characters, each escaped as `\uXXXX\uXXXX`, has 48 KB.
BODY_LIMIT = 64 * 1024


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is known to be, whatever its transfer encoding."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def require_json(request: Request) -> None:
    """Raise WrongContentType unless the body says that it is JSON in UTF-8."""
    given = request.headers.get("content-type", "")
    media, charset = media_type(given)
    if media != "application/json" or charset not in ("utf-8", "utf8", "us-ascii"):
        raise WrongContentType(given, "application/json in UTF-8")


def decode_json(body: bytes) -> object:
    """Decoded JSON. NaN and infinities come through, so that validation can name their field.

    Raises InvalidRequest, which names `body`.
    """
    try:
        return json_of(body)
    except ValueError as error:
        raise InvalidRequest([FieldError("body", str(error), "a JSON object in UTF-8")]) from None
