"""The data of an event: a JSON object, whatever way it was wrapped."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from jobs.errors import FieldError

__all__ = ["ABSENT", "content_type_fault", "is_json", "json_of", "media_type", "object_of"]

#: The data of an event that has none.
ABSENT: Any = object()

_OBJECT_RULE = "a JSON object"
_TYPE_RULE = "application/json, or text/plain whose text is a JSON object, in UTF-8"
_CHARSETS = ("utf-8", "utf8", "us-ascii")


def media_type(text: str) -> tuple[str, str]:
    """The media type, lower-case and without parameters, and the charset of a `Content-Type`."""
    if not text.isprintable():
        return "", ""
    message = Message()
    message["content-type"] = text
    charset = message.get_content_charset("utf-8")
    return text.partition(";")[0].strip().lower(), charset or ""


def is_json(media: str) -> bool:
    """Whether the media type is JSON, by RFC 6839 `+json` ones are."""
    return media in ("application/json", "text/json") or media.endswith("+json")


def content_type_fault(content_type: str) -> FieldError | None:
    """What is wrong with the content type of an event's data; an empty one is JSON."""
    if not content_type:
        return None
    media, charset = media_type(content_type)
    if not (is_json(media) or media == "text/plain"):
        return FieldError("datacontenttype", f"{content_type[:64]!r} is not JSON", _TYPE_RULE)
    if charset not in _CHARSETS:
        return FieldError("datacontenttype", f"charset {charset[:64]!r} is not supported", _TYPE_RULE)
    return None


def json_of(text: bytes | str) -> object:
    """Decoded JSON. NaN and infinities come through, so that a validation can name their field.

    Raises ValueError with what is wrong.
    """
    try:
        decoded: object = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # no UTF-8, no JSON, or a number of thousands of digits
        raise ValueError("is no JSON in UTF-8") from None
    return decoded


def object_of(data: object) -> dict[str, Any] | FieldError:
    """The JSON object that the data is, as bytes, as text, or as text within JSON; else what is wrong.

    Text within JSON is what clients send that take their data as a string, and mark it as JSON.
    """
    if data is ABSENT or data == b"":
        return FieldError("data", "is missing", _OBJECT_RULE)
    try:
        if isinstance(data, bytes):
            data = json_of(data)
        if isinstance(data, str):
            data = json_of(data)
    except ValueError as error:
        return FieldError("data", str(error), _OBJECT_RULE)
    return data if isinstance(data, dict) else FieldError("data", "is no JSON object", _OBJECT_RULE)
