"""What the CloudEvents 1.0 specification demands of an event over HTTP, and no more of ours than that.

Written from the specification, its JSON format and its HTTP binding. It knows no codec: neither ours nor
the SDK's. Where the specification says SHOULD (a name of at most 20 characters, `Z`-or-offset times), it
is held to as well.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import date
from urllib.parse import unquote_to_bytes, urlsplit

__all__ = ["violations"]

REQUIRED = ("specversion", "id", "source", "type")
# RFC 3339, section 5.6.
TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
# RFC 3986, appendix A: unreserved, reserved and percent-encoded characters.
URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
# RFC 2046 and RFC 9110: type "/" subtype, then parameters.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
MEDIA_TYPE = re.compile(rf'{TOKEN}/{TOKEN}(?:\s*;\s*{TOKEN}=(?:{TOKEN}|"[^"]*"))*')


def violations(headers: Mapping[str, str], body: bytes) -> list[str]:
    """Every way in which a request or a response is no CloudEvent; none for one that is."""
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = lower.get("content-type", "")
    if content_type.lower().startswith("application/cloudevents"):
        return _structured(content_type, body)
    return _binary(lower, content_type, body)


def _binary(headers: Mapping[str, str], content_type: str, body: bytes) -> list[str]:
    found: list[str] = []
    attributes: dict[str, object] = {}
    for header, value in headers.items():
        if not header.startswith("ce-"):
            continue
        name = header.removeprefix("ce-")
        if name == "datacontenttype":
            found.append("ce-datacontenttype: the header is content-type")
        if not all("!" <= c <= "~" and c != '"' for c in value):
            found.append(f"{header}: {value!r} is not percent-encoded")
        if re.search(r"%(?![0-9A-Fa-f]{2})", value):
            found.append(f"{header}: {value!r} has a percent sign that encodes nothing")
        try:
            attributes[name] = unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            found.append(f"{header}: {value!r} is no UTF-8")
    if content_type:
        attributes["datacontenttype"] = content_type
    found += _attributes(attributes)
    if body and _is_json(content_type):
        found += _json(body)
    if body and not content_type:
        found.append("content-type: there is data, and nothing says what it is")
    return found


def _structured(content_type: str, body: bytes) -> list[str]:
    media, _, parameters = content_type.lower().partition(";")
    if media.strip() != "application/cloudevents+json":
        return [f"content-type: {content_type!r} is not the JSON format of one event"]
    if parameters and "utf-8" not in parameters:
        return [f"content-type: {content_type!r} is not UTF-8"]
    if wrong := _json(body):
        return wrong
    event = json.loads(body)
    if not isinstance(event, dict):
        return ["body: is no JSON object"]
    found: list[str] = []
    if "data" in event and "data_base64" in event:
        found.append("data: is there twice")
    if "data_base64" in event:
        try:
            b64decode(event["data_base64"], validate=True)
        except (ValueError, TypeError):
            found.append("data_base64: is no base64")
    attributes = {n: v for n, v in event.items() if n not in ("data", "data_base64") and v is not None}
    return found + _attributes(attributes)


def _attributes(attributes: Mapping[str, object]) -> list[str]:
    found = [f"{name}: is missing" for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        if not re.fullmatch(r"[a-z0-9]{1,20}", name) or name == "data":
            found.append(f"{name}: is no name of an attribute")
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, int):
            text = str(value)
            if not -(2**31) <= value < 2**31:
                found.append(f"{name}: {value} is no 32-bit integer")
        elif isinstance(value, str):
            text = value
        else:
            found.append(f"{name}: {value!r} has no type of the specification")
            continue
        found += [f"{name}: {wrong}" for wrong in _value(name, text)]
    return found


def _value(name: str, text: str) -> list[str]:
    wrong: list[str] = []
    for c in text:
        control = c <= "\x1f" or "\x7f" <= c <= "\x9f"
        surrogate = "\ud800" <= c <= "\udfff"
        none = "\ufdd0" <= c <= "\ufdef" or ord(c) % 0x10000 >= 0xFFFE
        if control or surrogate or none:
            wrong.append(f"has the character U+{ord(c):04X}")
    core = (*REQUIRED, "subject", "time", "dataschema", "datacontenttype")
    if name in core and not text:
        wrong.append("is empty")
    elif name == "specversion" and text != "1.0":
        wrong.append(f"is {text!r}")
    elif name == "time" and not _is_time(text):
        wrong.append(f"{text!r} is not RFC 3339")
    elif name == "source" and not _is_uri_reference(text):
        wrong.append(f"{text!r} is no URI reference")
    elif name == "dataschema" and not (_is_uri_reference(text) and urlsplit(text).scheme):
        wrong.append(f"{text!r} is no absolute URI")
    elif name == "datacontenttype" and not MEDIA_TYPE.fullmatch(text):
        wrong.append(f"{text!r} is no media type")
    return wrong


def _is_time(text: str) -> bool:
    match = TIME.fullmatch(text)
    if match is None:
        return False
    try:
        date.fromisoformat(match["date"])
    except ValueError:
        return False
    return True


def _is_uri_reference(text: str) -> bool:
    if not URI.fullmatch(text) or text.count("#") > 1:
        return False
    try:
        urlsplit(text)
    except ValueError:
        return False
    # A colon in the first segment of a path makes what is before it a scheme.
    first = re.split(r"[/?#]", text)[0]
    return ":" not in first or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", first) is not None


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media.endswith(("/json", "+json"))


def _json(body: bytes) -> list[str]:
    def none(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    try:
        json.loads(body.decode("utf-8"), parse_constant=none)
    except ValueError as error:
        return [f"data: is no JSON ({error})"]
    return []
