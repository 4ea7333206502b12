"""An event on the wire: its attributes as text and its data as bytes, nothing lost and nothing understood.

Reads the binary and the structured mode of the CloudEvents 1.0 HTTP binding, and writes the binary one.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from jobs.errors import FieldError, InvalidRequest

__all__ = ["NotACloudEvent", "WireEvent", "is_event", "read_event"]

_STRUCTURED = "application/cloudevents"
_NAME = re.compile(r"[a-z0-9]+")
_REQUIRED = ("id", "source", "type")
_OPTIONAL = ("subject", "time", "dataschema", "datacontenttype")  # not empty where they are there
#: What a header may carry as it is; all else (space, quote, percent, beyond ASCII) is percent-encoded.
_SAFE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
_MAX_SHOWN = 60  # characters of a wrong value in an error


class NotACloudEvent(InvalidRequest):
    """The request or reply is no CloudEvent 1.0; `errors` names the attributes."""

    status = 400
    slug = "not-a-cloudevent"
    title = "This is no CloudEvent"


@dataclass(frozen=True)
class WireEvent:
    """An event as it is kept and sent on."""

    attributes: Mapping[str, str]  # specversion and datacontenttype included
    data: bytes

    def with_attributes(self, **more: str) -> WireEvent:
        """The same event with these attributes too."""
        return replace(self, attributes={**self.attributes, **more})

    def without(self, name: str) -> WireEvent:
        """The same event without this attribute."""
        return replace(self, attributes={k: v for k, v in self.attributes.items() if k != name})

    def headers(self) -> dict[str, str]:
        """The headers of the binary mode."""
        headers = {
            f"ce-{name}": quote(value, safe=_SAFE)
            for name, value in self.attributes.items()
            if name != "datacontenttype"
        }
        if "datacontenttype" in self.attributes:
            headers["content-type"] = self.attributes["datacontenttype"]
        return headers


def is_event(headers: Mapping[str, str]) -> bool:
    """Whether a message claims to be a CloudEvent, in either mode. Header names are in lower case."""
    return "ce-specversion" in headers or _media_type(headers).startswith(_STRUCTURED)


def read_event(headers: Mapping[str, str], body: bytes) -> WireEvent:
    """The event in a request or reply. Header names are in lower case. Raises NotACloudEvent."""
    media_type = _media_type(headers)
    if media_type.startswith(_STRUCTURED):
        if media_type != f"{_STRUCTURED}+json":
            raise _wrong(
                "content-type", f"{media_type!r} is not taken", f"{_STRUCTURED}+json, one event at a time"
            )
        event = _structured(body)
    elif "ce-specversion" in headers:
        event = _binary(headers, body)
    else:
        raise _wrong(
            "specversion", "is missing: neither a ce-specversion header nor a structured event", "1.0"
        )
    _validate(event.attributes)
    return event


def _binary(headers: Mapping[str, str], body: bytes) -> WireEvent:
    attributes = {
        name[3:]: unquote(value, errors="replace")
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    if headers.get("content-type"):
        attributes["datacontenttype"] = headers["content-type"]
    return WireEvent(attributes, body)


def _structured(body: bytes) -> WireEvent:
    try:
        members = json.loads(body.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise _wrong("body", "is no JSON in UTF-8", "a JSON object") from None
    if not isinstance(members, dict):
        raise _wrong("body", "is no JSON object", "a JSON object")
    data = _data(members)
    attributes = {
        name: _text(name, value)
        for name, value in members.items()
        if name not in ("data", "data_base64") and value is not None
    }
    if data:
        attributes.setdefault("datacontenttype", "application/json")
    return WireEvent(attributes, data)


def _data(members: Mapping[str, Any]) -> bytes:
    if members.get("data_base64") is not None:
        try:
            return b64decode(members["data_base64"], validate=True)
        except (ValueError, TypeError):
            raise _wrong("data_base64", "is no base64", "base64") from None
    data, content_type = members.get("data"), members.get("datacontenttype")
    if "data" not in members:
        return b""
    is_json = not isinstance(content_type, str) or "json" in content_type.lower()
    if isinstance(data, str) and not is_json:
        return data.encode("utf-8", "surrogatepass")
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise _wrong(name, f"is of the JSON type {type(value).__name__}", "a string, an integer or a boolean")


def _validate(attributes: Mapping[str, str]) -> None:
    errors = [
        FieldError(name, "is missing or empty", "text") for name in _REQUIRED if not attributes.get(name)
    ]
    if attributes.get("specversion") != "1.0":
        errors.append(FieldError("specversion", f"is {_shown(attributes.get('specversion'))}", "1.0"))
    errors += [
        FieldError(name, "is empty", "text, or no such attribute")
        for name in _OPTIONAL
        if name in attributes and not attributes[name]
    ]
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            errors.append(FieldError(name[:_MAX_SHOWN], "is no name", "lower-case letters and digits"))
        elif not value.isprintable():
            errors.append(FieldError(name, "holds control characters", "printable text"))
        elif name == "datacontenttype" and not value.isascii():
            errors.append(FieldError(name, "is no media type", "ASCII"))
    if attributes.get("time") and not _is_time(attributes["time"]):
        errors.append(FieldError("time", f"is {_shown(attributes['time'])}", "RFC 3339"))
    if errors:
        raise NotACloudEvent(errors)


def _is_time(text: str) -> bool:
    if not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", text, re.ASCII):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace(":60", ":59", 1).upper())
    except ValueError:
        return False
    return True


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _shown(value: str | None) -> str:
    return "missing" if value is None else repr(value[:_MAX_SHOWN])


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def _wrong(field: str, problem: str, allowed: str) -> NotACloudEvent:
    return NotACloudEvent([FieldError(field, problem, allowed)])
