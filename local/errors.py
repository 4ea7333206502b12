"""Why `mochi up` or `mochi demo` cannot do its work: one line for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Self

__all__ = ["ANOTHER_FOLDER", "CannotStart"]

#: What can be done about a data folder that is of no use.
ANOTHER_FOLDER = "choose another folder with --data-dir"


class CannotStart(Exception):
    """The message says what is wrong and what to do about it. It holds no secret."""

    @classmethod
    def without(cls, path: Path, error: OSError) -> Self:
        """The data folder (or something in it) cannot be used."""
        return cls(
            f"{error.filename or path}: {error.strerror or error}: make it writable, or {ANOTHER_FOLDER}"
        )
