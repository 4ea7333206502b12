"""The `Range` header (RFC 9110, section 14): one range of bytes. Anything else is ignored, as it may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from functions.errors import RangeNotSatisfiable

__all__ = ["ByteRange", "parse_range"]

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to `end`, both included, of `size`."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start + 1

    def __str__(self) -> str:
        return f"bytes {self.start}-{self.end}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range that is asked for; None: the whole. Raises RangeNotSatisfiable."""
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < int(first):
            return None  # not a valid range: the same as none
    if start >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(start, end, size)
