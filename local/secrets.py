"""Secrets of a data folder: drawn once, kept in files that only their owner can read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from secrets import token_hex

__all__ = ["kept_secret"]

_SECRET = re.compile(r"[0-9a-f]{48}")


def kept_secret(path: Path) -> str:
    """The secret in this file; a new one where there is no file, or none that is whole. Raises OSError.

    Nobody else may be doing the same: the caller holds the data folder's lock.
    """
    try:
        secret = path.read_text("ascii")
        path.chmod(0o600)
    except (FileNotFoundError, UnicodeDecodeError):
        secret = ""
    if _SECRET.fullmatch(secret):
        return secret
    secret = token_hex(24)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # what is there may have other permissions
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return secret
