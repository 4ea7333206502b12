"""The rules of the CloudEvents 1.0 specification for context attributes, and how HTTP headers carry them.

Attributes are seen here as names with values in their canonical string form. Knows nothing of data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from jobs.errors import FieldError

__all__ = [
    "CORE",
    "attribute_faults",
    "canonical",
    "from_header",
    "parse_time",
    "source_from_header",
    "to_header",
]

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NAME = re.compile(r"[a-z0-9]+")
# RFC 3986: the characters of a URI reference; a percent sign only before two hexadecimal digits.
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
# What the type String forbids: control characters, halves of surrogate pairs, and (with the last two code
# points of each plane) noncharacters.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef]")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SHOWN = 64  # characters of a wrong value or name that an error repeats

_NAME_RULE = "lower-case letters a to z and digits"
_STRING_RULE = "a non-empty string without control characters"
_TIME_RULE = "RFC 3339, e.g. 2030-01-31T12:00:00Z"


def parse_time(text: str) -> datetime:
    """RFC 3339 as an aware time in UTC; digits past the microsecond are cut off. Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:_SHOWN]!r} is no RFC 3339 time")
    date, minute, second, fraction, zone = match.groups()
    leap = second == "60"  # RFC 3339 allows it, datetime has none: it is the second after 59
    moment = datetime.fromisoformat(
        f"{date}T{minute}:{'59' if leap else second}.{(fraction or '0')[:6]:0<6}{zone.upper()}"
    )
    try:
        return moment.astimezone(UTC) + timedelta(seconds=leap)
    except OverflowError:
        raise ValueError(f"{text[:_SHOWN]!r} is out of range") from None


def canonical(value: object) -> str:
    """A JSON value of an attribute in its canonical string form. Raises ValueError for other types."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            raise ValueError("is no string, boolean or integer")


def from_header(value: str) -> str:
    """The attribute that a header's value carries: unquoted, then percent-decoded once.

    Raises ValueError for percent-encoded bytes that are no UTF-8.
    """
    if not value.isascii():
        # Senders that do not percent-encode send UTF-8; HTTP servers read headers as Latin-1.
        with suppress(UnicodeError):
            value = value.encode("latin-1").decode("utf-8")
    value = value.strip(" \t")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return _ESCAPED.sub(lambda m: bytes.fromhex(m[0].replace("%", "")).decode("utf-8"), value)
    except UnicodeDecodeError:
        raise ValueError("has percent-encoded bytes that are no UTF-8") from None


def source_from_header(value: str) -> str:
    """As `from_header`, for a URI reference, which has percent-encoding of its own.

    Many senders do not encode it once more: where `%20` would become a space, the value is meant as it is.
    Raises ValueError as `from_header` does.
    """
    decoded = from_header(value)
    encoded_once = _source(decoded) is not None and not _has_forbidden(decoded) and _source(value) is None
    return value if encoded_once else decoded


def to_header(value: str) -> str:
    """The header value that carries an attribute: all but printable ASCII, and `%` and `"`, encoded."""
    return "".join(
        c if "!" <= c <= "~" and c not in '"%' else "".join(f"%{b:02X}" for b in c.encode("utf-8"))
        for c in value
    )


def _has_forbidden(value: str) -> bool:
    return _FORBIDDEN.search(value) is not None or any(ord(c) & 0xFFFE == 0xFFFE for c in value)


def _string(value: str) -> str | None:
    return None if value else "is empty"


def _version(value: str) -> str | None:
    return None if value == "1.0" else f"{value[:_SHOWN]!r} is not supported"


def _source(value: str) -> str | None:
    if not value:
        return "is empty"
    return None if _URI_REFERENCE.fullmatch(value) else f"{value[:_SHOWN]!r} is no URI reference"


def _time(value: str) -> str | None:
    try:
        parse_time(value)
    except ValueError:
        return f"{value[:_SHOWN]!r} is no RFC 3339 time"
    return None


#: Attributes of the specification that an event has: what is wrong with a value, what is allowed, required?
CORE: Mapping[str, tuple[Callable[[str], str | None], str, bool]] = {
    "specversion": (_version, "1.0", True),
    "id": (_string, _STRING_RULE, True),
    "source": (_source, "a non-empty URI reference, e.g. /my/producer", True),
    "type": (_string, _STRING_RULE, True),
    "subject": (_string, _STRING_RULE, False),
    "time": (_time, _TIME_RULE, False),
}


def attribute_faults(attributes: Mapping[str, str]) -> list[FieldError]:
    """Everything that is wrong with the attributes of an event, `CORE` and extensions."""
    faults = [
        FieldError(name, "is missing", allowed)
        for name, (_, allowed, required) in CORE.items()
        if required and name not in attributes
    ]
    for name, value in attributes.items():
        problem, allowed, _ = CORE.get(name, (lambda _: None, "a string without control characters", False))
        if name == "data" or not _NAME.fullmatch(name):
            faults.append(FieldError(name[:_SHOWN] or '""', "is no allowed name of an attribute", _NAME_RULE))
        elif _has_forbidden(value):
            faults.append(FieldError(name[:_SHOWN], "contains a character that is not allowed", allowed))
        elif found := problem(value):
            faults.append(FieldError(name[:_SHOWN], found, allowed))
    return faults
