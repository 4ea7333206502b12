"""Where the command line gets a prompt from: an argument, a file or standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mochi.errors import InvalidArgument

__all__ = ["read_prompt"]

#: Bytes that are read: far more than any prompt, far less than hurts.
LIMIT = 1024 * 1024
_ALLOWED = "one of PROMPT, --file FILE, and - for standard input"


def read_prompt(argument: str | None, file: str | None) -> str:
    """The prompt. Raises InvalidArgument, and OSError of the file."""
    if argument is not None and file is not None:
        raise InvalidArgument("prompt", "given twice", _ALLOWED)
    if file is None:
        if argument is None:
            raise InvalidArgument("prompt", "is missing", _ALLOWED)
        if argument != "-":
            return _decoded(os.fsencode(argument))
        file = "-"
    return _decoded(_standard_input() if file == "-" else _file(Path(file)))


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InvalidArgument("prompt", "there is no standard input to read", _ALLOWED)
    return sys.stdin.buffer.read(LIMIT + 1)


def _file(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(LIMIT + 1)


def _decoded(content: bytes) -> str:
    if len(content) > LIMIT:
        raise InvalidArgument("prompt", f"has more than {LIMIT} bytes", "a text of a few sentences")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument("prompt", "is no UTF-8", "UTF-8 text") from None
