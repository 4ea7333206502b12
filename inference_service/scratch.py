"""The scratch volume: a folder of this process on it, and what killed processes left there.

Several predictors may share one volume (pods of one node, say). Each holds a lock on its own folder as
long as it lives; the system drops the lock however it dies, so whoever starts next can tell what nobody
owns any more. Knows no job and no model.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

__all__ = ["Scratch", "locked"]

_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made where it is missing; waits for whoever holds it.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Scratch:
    """This process's folder for the files of its jobs."""

    def __init__(self, root: Path) -> None:
        """Remove what killed processes left below `root`, and make a folder. Raises OSError."""
        work = root / "work"
        with locked(root):  # nobody else sweeps between the making of our folder and its lock
            work.mkdir(exist_ok=True)
            for folder in work.iterdir():
                if not _is_owned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self.folder = Path(mkdtemp(dir=work))
            self._lock = (self.folder / _LOCK).open("wb")  # and held open until `close`
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _is_owned(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("r+b") as lock:
            return not _take(lock)
    except FileNotFoundError:  # its owner died before it made one
        return False


def _take(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
