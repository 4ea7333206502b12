"""The file that a download grows in: `video.mp4.part` until it is whole, then `video.mp4`.

Blocking, as files are; each call is one short write. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

__all__ = ["PartFile", "check_destination"]


def check_destination(path: Path) -> None:
    """Raise OSError if no file can be made at `path`: better now than after the video is made."""
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "its folder does not exist", str(path))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, "its folder cannot be written to", str(path))


class PartFile:
    """Opens what an earlier, interrupted download left, or a new file. Raises OSError."""

    def __init__(self, path: Path) -> None:
        check_destination(path)
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file: BinaryIO = self._part.open("r+b" if self._part.exists() else "w+b")
        self.size = self._file.seek(0, os.SEEK_END)
        #: Whether it begins with bytes that this download did not fetch.
        self.inherited = self.size > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.size == 0:  # nothing came: an empty file tells nobody anything
            self._part.unlink(missing_ok=True)

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self._file.write(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget every byte."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.inherited = False

    def md5(self) -> str:
        """Of all bytes, in hex: what most object stores give as the ETag of an object."""
        self._file.flush()
        with self._part.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Put it in its place, whole and on disk, in one step."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
