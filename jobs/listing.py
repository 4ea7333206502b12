"""The cursor of a listing: opaque to clients, and known when it comes back.

It holds the `seq` of the last job of the page. It is no secret and protects nothing; the checksum tells a
cursor that was made up or cut off.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from jobs.errors import FieldError, InvalidRequest

__all__ = ["read_cursor", "write_cursor"]

_FORM = re.compile(r"([0-9]{1,16})\.([0-9a-f]{8})")


def write_cursor(seq: str) -> str:
    """The cursor of the page after the job with this `seq`."""
    return urlsafe_b64encode(f"{seq}.{_checksum(seq)}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The `seq` in a cursor. Raises InvalidRequest for one that `write_cursor` did not make."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    match = _FORM.fullmatch(text)
    if match is None or match[2] != _checksum(match[1]) or write_cursor(match[1]) != cursor:
        raise InvalidRequest([FieldError("cursor", "is no cursor", "the next_cursor of the page before")])
    return match[1]


def _checksum(seq: str) -> str:
    return sha256(b"listing:" + seq.encode()).hexdigest()[:8]
