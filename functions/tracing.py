"""The W3C trace context of a request: taken over where it is valid, begun where there is none."""

from __future__ import annotations

import re
from secrets import token_hex

__all__ = ["traceparent_of"]

#: https://www.w3.org/TR/trace-context/#traceparent-header. A later version may have more fields.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.{0,200})?"
)


def traceparent_of(*candidates: str | None) -> str:
    """The first valid candidate, or a new trace."""
    for candidate in candidates:
        if candidate and _valid(candidate):
            return candidate
    return f"00-{token_hex(16)}-{token_hex(8)}-01"


def _valid(text: str) -> bool:
    match = _TRACEPARENT.fullmatch(text)
    return match is not None and not (match["version"] == "00" and match["more"])
