"""The rules of a request that no profile changes: its text, its times, and how a wrong field is told.

Everything said about a wrong field is short and can be written as UTF-8, whatever came in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticCustomError

from jobs.errors import FieldError

__all__ = [
    "MAX_PROMPT",
    "PROMPT_RULE",
    "clean_text",
    "field_error",
    "is_blank",
    "parse_deadline",
    "shown",
    "unknown_fields",
    "wrong",
]

MAX_PROMPT = 2000  # characters after trimming
PROMPT_RULE = f"1 to {MAX_PROMPT} characters after trimming, no control characters"

_MAX_UNKNOWN = 20  # unknown fields that are named; a body of nothing else would make a huge answer
_MAX_SHOWN = 40  # characters of a wrong value that are shown

#: Control characters but tab and line ends, and halves of surrogate pairs, which no UTF-8 can carry.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
#: What shows nothing by itself: controls, formats (zero-width), separators, marks without a letter …
_INVISIBLE = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"})
#: … and the blanks that Unicode counts among letters and symbols: Hangul fillers and the empty braille cell.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")

_DEADLINE_RULE = "RFC 3339 with a time zone, from 1970 to 2199, e.g. 2030-01-31T12:00:00Z"
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
# Microseconds since the epoch stay below 2^53, so that Lua and JavaScript keep them.
_YEARS = range(1970, 2200)


def wrong(problem: str, allowed: object) -> PydanticCustomError:
    """What a validator raises for a wrong field; `field_error` reads it."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "allowed": str(allowed)})


def shown(value: object) -> str:
    """A wrong value for an error's text: short, in one line of ASCII."""
    if isinstance(value, int) and abs(value) >= 10**_MAX_SHOWN:
        return "a number this large"  # str() refuses integers of more than 4300 digits
    text = value[: _MAX_SHOWN + 1] if isinstance(value, str) else value
    text = ascii(text) if isinstance(text, str) else f"{text:g}" if isinstance(text, float) else str(text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def clean_text(text: str) -> str:
    """The trimmed text. Raises what `wrong` makes for one that is too long or has control characters."""
    trimmed = text.strip()
    if len(trimmed) > MAX_PROMPT:
        raise wrong(f"has {len(trimmed)} characters", PROMPT_RULE)
    if _CONTROL.search(text):
        raise wrong("contains a control character", PROMPT_RULE)
    return trimmed


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing: only spaces, zero-width characters and their like."""
    return not any(unicodedata.category(c) not in _INVISIBLE and c not in _BLANKS for c in text)


def parse_deadline(value: object) -> datetime:
    """RFC 3339 as UTC; without a time zone as it is, for pydantic to refuse.

    The pattern is checked first: Python's own parser takes more, and which more depends on its version.
    """
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise wrong("is not a time", _DEADLINE_RULE)
    try:
        moment = datetime.fromisoformat(value.upper())
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong("is not a time", _DEADLINE_RULE) from None
    if moment.year not in _YEARS:
        raise wrong(f"is in the year {moment.year}", _DEADLINE_RULE)
    return moment


def unknown_fields(names: Iterable[object], known: Sequence[str]) -> list[FieldError]:
    """An error for each of the first few names that are not `known`."""
    unknown = [name for name in names if name not in known][:_MAX_UNKNOWN]
    return [FieldError(_name(name), "is unknown", ", ".join(known)) for name in unknown]


def _name(name: object) -> str:
    return str(name)[:64].encode("utf-8", "replace").decode() or '""'


def field_error(error: Mapping[str, Any]) -> FieldError:
    """An error of pydantic as ours."""
    name = ".".join(str(part) for part in error["loc"]) or "body"
    context = error.get("ctx", {})
    match error["type"]:
        case "wrong":
            return FieldError(name, context["problem"], context["allowed"])
        case "missing":
            return FieldError(name, "is missing", PROMPT_RULE)
        case "finite_number":
            return FieldError(name, "is not a finite number", "a finite number")
        case "timezone_aware":
            return FieldError(name, "has no time zone", _DEADLINE_RULE)
        case "string_unicode":
            return FieldError(name, "contains half a character", "text that UTF-8 can carry")
        case kind:
            wanted = {"int": "an integer", "float": "a number", "string": "a string"}
            return FieldError(name, "has the wrong type", wanted.get(kind.split("_")[0], "another type"))
