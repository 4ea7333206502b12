"""CloudEvents over HTTP: headers and a body become an event, and the other way round.

The one importer of the CloudEvents SDK, which forms what we send. What we receive is checked here against
the specification: the SDK stops at the first fault and takes much that is none. Bodies are bounded before.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent

from eventing.attributes import (
    CORE,
    attribute_faults,
    canonical,
    from_header,
    parse_time,
    source_from_header,
    to_header,
)
from eventing.errors import InvalidEvent
from eventing.events import Event
from eventing.payload import ABSENT, content_type_fault, json_of, media_type, object_of
from jobs.errors import FieldError

__all__ = ["InvalidEvent", "decode", "encode"]

_STRUCTURED = "application/cloudevents"
_MODES_RULE = "application/cloudevents+json in UTF-8, or ce- headers with application/json"
_NOT_KEPT = ("datacontenttype", "dataschema")


@dataclass
class _Message:
    """An event taken apart, its attributes in canonical string form, and what was wrong on the way."""

    attributes: dict[str, str] = field(default_factory=dict)
    data: object = ABSENT  # bytes, or decoded JSON
    data_type: str = ""
    faults: list[FieldError] = field(default_factory=list)

    def fault(self, name: str, problem: str, allowed: str) -> None:
        self.faults.append(FieldError(name[:64], problem, allowed))


def decode(headers: Mapping[str, str], body: bytes) -> Event:
    """The event in a request or a response, in binary or structured mode.

    Raises InvalidEvent with every attribute that is wrong, and `data` where it is no JSON object.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = lower.get("content-type", "")
    if media_type(content_type)[0].startswith(_STRUCTURED):
        message = _structured(content_type, body)
    else:
        message = _binary(lower, content_type, body)
    wrong_already = {fault.field for fault in message.faults}
    attributes = message.attributes
    faults = message.faults + [f for f in attribute_faults(attributes) if f.field not in wrong_already]
    type_fault = content_type_fault(message.data_type)
    data = type_fault or (object_of(message.data) if "data" not in wrong_already else None)
    if isinstance(data, FieldError):
        faults.append(data)
    if faults or not isinstance(data, dict):
        raise InvalidEvent(faults)
    return Event(
        type=attributes["type"],
        source=attributes["source"],
        id=attributes["id"],
        subject=attributes.get("subject", ""),
        time=parse_time(attributes["time"]) if "time" in attributes else None,
        data=data,
        extensions={name: value for name, value in attributes.items() if name not in CORE},
    )


def encode(event: Event) -> tuple[dict[str, str], bytes]:
    """The headers and the body that carry an event in binary mode. Raises InvalidEvent."""
    given = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject or None,
        "time": _rfc3339(event),
    }
    attributes = {name: value for name, value in given.items() if value is not None}
    faults = attribute_faults(attributes | event.extensions)
    faults += [
        FieldError(name, "is no extension", "a name that the specification does not use")
        for name in event.extensions
        if name in given or name in _NOT_KEPT
    ]
    if event.time is not None and event.time.tzinfo is None:
        faults.append(FieldError("time", "has no time zone", "an aware time"))
    body = _json_bytes(event.data)
    if body is None:
        faults.append(FieldError("data", "holds what JSON has not", "a JSON object with finite numbers"))
    if faults:
        raise InvalidEvent(faults)
    # The SDK would make up the time of an event that has none, but for the None.
    of_event: dict[str, Any] = {**given, "datacontenttype": "application/json", **event.extensions}
    headers, body = to_binary(CloudEvent(of_event, body), data_marshaller=bytes)
    return {n: to_header(v) if n.startswith("ce-") else v for n, v in headers.items()}, body


def _json_bytes(data: object) -> bytes | None:
    try:
        # ASCII: what a client sent may hold half a surrogate pair, which no UTF-8 can carry.
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return None


def _rfc3339(event: Event) -> str | None:
    if event.time is None:
        return None
    return event.time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _binary(headers: Mapping[str, str], content_type: str, body: bytes) -> _Message:
    message = _Message(data=body, data_type=content_type)
    for header, value in headers.items():
        name = header.removeprefix("ce-")
        # The content type of binary data is the header of that name, and no other.
        if name == header or name in _NOT_KEPT:
            continue
        try:
            message.attributes[name] = source_from_header(value) if name == "source" else from_header(value)
        except ValueError as error:
            message.fault(name, str(error), "a string, percent-encoded in UTF-8")
    return message


def _structured(content_type: str, body: bytes) -> _Message:
    media, charset = media_type(content_type)
    if media != f"{_STRUCTURED}+json" or charset not in ("utf-8", "utf8", "us-ascii"):
        what = "a batch is not taken" if media.startswith(f"{_STRUCTURED}-batch") else "is not supported"
        raise InvalidEvent([FieldError("content-type", f"{content_type[:64]!r}: {what}", _MODES_RULE)])
    try:
        envelope = json_of(body)
    except ValueError as error:
        raise InvalidEvent([FieldError("body", str(error), "a CloudEvent as a JSON object")]) from None
    if not isinstance(envelope, dict):
        raise InvalidEvent([FieldError("body", "is no JSON object", "a CloudEvent as a JSON object")])
    message = _Message(data=envelope.pop("data", ABSENT))
    if "data_base64" in envelope:
        _take_base64(message, envelope.pop("data_base64"))
    for name, value in envelope.items():
        if value is None:  # the JSON format's way to say that there is none
            continue
        try:
            message.attributes[name] = canonical(value)
        except ValueError as error:
            message.fault(name, str(error), "a string, a boolean or an integer")
    message.data_type = message.attributes.pop("datacontenttype", "")
    message.attributes.pop("dataschema", None)
    return message


def _take_base64(message: _Message, encoded: object) -> None:
    if message.data is not ABSENT:
        message.fault("data", "is given together with data_base64", "either data or data_base64")
        return
    try:
        message.data = b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except ValueError:
        message.fault("data", "is no base64 in data_base64", "a JSON object in base64")
