"""Where the command line gets a prompt from: an argument, a file or standard input."""

from __future__ import annotations

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
            return argument
    if file in (None, "-"):
        content = sys.stdin.buffer.read(LIMIT + 1)
    else:
        with Path(str(file)).open("rb") as source:
            content = source.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise InvalidArgument("prompt", f"has more than {LIMIT} bytes", "a text of a few sentences")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument("prompt", "is no UTF-8", "UTF-8 text") from None
