"""Problem documents that are short enough for a Broker: what its dead letters carry of a refusal.

Knative's in-memory dispatcher (Eventing 0.49) encodes the body of a refusal into an attribute of 1024
characters, and one that does not fit ends its process, with every event that it holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_BYTES", "short_problem"]

#: Bytes whose base64 has 1024 characters.
MAX_BYTES = 768

_CUT = " ..."
_LONGEST = 6  # bytes that one character may take, as \uXXXX (two of them beyond the basic plane)


def short_problem(found: Mapping[str, Any]) -> bytes:
    """The problem document as JSON of at most MAX_BYTES: where need be without `errors`, `detail` cut off.

    All else in it is short. What is wrong with a field is in `detail` too.
    """
    body = _json(found)
    if len(body) > MAX_BYTES:
        found = {name: value for name, value in found.items() if name != "errors"}
        body = _json(found)
    detail = str(found.get("detail", ""))
    while len(body) > MAX_BYTES and detail:
        detail = detail[: -max(1, (len(body) - MAX_BYTES) // (2 * _LONGEST))]
        body = _json({**found, "detail": detail + _CUT})
    return body


def _json(found: Mapping[str, Any]) -> bytes:
    # ASCII: a name that a client made up may hold half a surrogate pair, which no UTF-8 can carry.
    return json.dumps(found, separators=(",", ":")).encode("ascii")
