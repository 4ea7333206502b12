"""An event on the wire: its attributes as text and its data as bytes, nothing lost and nothing understood.

Reads the binary and the structured mode of the CloudEvents 1.0 HTTP binding, and writes the binary one.
The rules of attributes are those of `eventing.attributes`; its codec knows our events only.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from eventing.attributes import attribute_faults, canonical, from_header, source_from_header, to_header
from jobs.errors import FieldError, InvalidRequest

__all__ = ["NotACloudEvent", "WireEvent", "is_event", "read_event"]

_STRUCTURED = "application/cloudevents"
_JSON = "application/json"
_MODES = "ce- headers, or application/cloudevents+json with one event"
_CONTENT_TYPE = "datacontenttype"  # a header without the prefix


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
        headers = {f"ce-{k}": to_header(v) for k, v in self.attributes.items() if k != _CONTENT_TYPE}
        if _CONTENT_TYPE in self.attributes:
            headers["content-type"] = self.attributes[_CONTENT_TYPE]
        return headers


def is_event(headers: Mapping[str, str]) -> bool:
    """Whether a message claims to be a CloudEvent, in either mode. Header names are in lower case."""
    return "ce-specversion" in headers or _media_type(headers).startswith(_STRUCTURED)


def read_event(headers: Mapping[str, str], body: bytes) -> WireEvent:
    """The event in a request or reply. Header names are in lower case. Raises NotACloudEvent."""
    media_type = _media_type(headers)
    if media_type.startswith(_STRUCTURED):
        if media_type != f"{_STRUCTURED}+json":
            raise _wrong("content-type", f"{media_type[:64]!r} is not taken", _MODES)
        event = _structured(body)
    elif "ce-specversion" in headers:
        event = _binary(headers, body)
    else:
        raise _wrong("specversion", "is missing", _MODES)
    faults = attribute_faults(event.attributes)
    content_type = event.attributes.get(_CONTENT_TYPE, _JSON)
    if not content_type.isascii() or not content_type.isprintable() or "/" not in content_type:
        faults.append(FieldError(_CONTENT_TYPE, f"{content_type[:64]!r} is no media type", _JSON))
    if faults:
        raise NotACloudEvent(faults)
    return event


def _binary(headers: Mapping[str, str], body: bytes) -> WireEvent:
    attributes = {}
    for header, value in headers.items():
        if header.startswith("ce-"):
            name = header[3:]
            try:
                attributes[name] = source_from_header(value) if name == "source" else from_header(value)
            except ValueError as error:
                raise _wrong(name[:64], str(error), "percent-encoded UTF-8") from None
    attributes.pop(_CONTENT_TYPE, None)  # the binding has one place for it
    if headers.get("content-type"):
        attributes[_CONTENT_TYPE] = headers["content-type"]
    return WireEvent(attributes, body)


def _structured(body: bytes) -> WireEvent:
    try:
        members = json.loads(body.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise _wrong("body", "is no JSON in UTF-8", "a JSON object") from None
    if not isinstance(members, dict):
        raise _wrong("body", "is no JSON object", "a JSON object")
    attributes = {}
    for name, value in members.items():
        if name not in ("data", "data_base64") and value is not None:
            try:
                attributes[name] = canonical(value)
            except ValueError as error:
                raise _wrong(name[:64], str(error), "a string, an integer or a boolean") from None
    if "data" in members and "data_base64" not in members:
        attributes.setdefault(_CONTENT_TYPE, _JSON)
    return WireEvent(attributes, _data(members, attributes.get(_CONTENT_TYPE, "")))


def _data(members: Mapping[str, Any], content_type: str) -> bytes:
    if "data_base64" in members:
        try:
            return b64decode(members["data_base64"], validate=True)
        except (ValueError, TypeError):
            raise _wrong("data_base64", "is no base64", "base64") from None
    if "data" not in members:
        return b""
    data = members["data"]
    if isinstance(data, str) and "json" not in content_type.lower():
        return data.encode("utf-8", "replace")
    # Escaped as ASCII where it must be: half a surrogate pair has no UTF-8.
    return json.dumps(data, separators=(",", ":")).encode()


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def _wrong(field: str, problem: str, allowed: str) -> NotACloudEvent:
    return NotACloudEvent([FieldError(field, problem, allowed)])
