"""What outlives a process on the scratch volume: checkpoints and decoded frames, a folder for each job.

Whoever works on the job next on this volume goes on with them. They are a cache: any of it may be removed
at any time. What is read here may be torn or of another job; `checkpoints.py` tells.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkstemp

import structlog

__all__ = ["FRAMES", "JobFiles", "is_full"]

#: The name of a job's decoded frames.
FRAMES = "frames.safetensors"

_OLD = 24 * 3600  # seconds; a job that was not worked on here for so long is done elsewhere
_LARGEST = 4 * 2**30  # bytes of all jobs; frames of the largest clip are 200 MB

log = structlog.get_logger(__name__)


class JobFiles:
    """Files of jobs below one folder. Every write is whole or absent."""

    def __init__(self, root: Path, largest: int = _LARGEST) -> None:
        """`largest`: bytes that are kept of jobs which are not at work. Touches no file."""
        self._root = root
        self._largest = largest

    def write(self, job_id: str, name: str, content: bytes) -> None:
        """Keep a file, instead of the one of that name. Raises OSError, and then leaves nothing."""
        folder = self._root / job_id
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = mkstemp(prefix=".part-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(part).replace(folder / name)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise

    def keep(self, job_id: str, name: str, content: bytes, otherwise: str) -> bool:
        """Write a file if the volume takes it; whether it is kept. Where not, the log says `otherwise`."""
        try:
            self.write(job_id, name, content)
        except OSError as error:
            log.warning(
                "scratch_full" if is_full(error) else "scratch_unwritable",
                reason=error.strerror,
                consequence=otherwise,
            )
            return False
        return True

    def read(self, job_id: str, name: str) -> bytes | None:
        """A file, or None where there is none (or the volume cannot read it)."""
        try:
            return (self._root / job_id / name).read_bytes()
        except OSError:
            return None

    def names(self, job_id: str) -> list[str]:
        """What `read` may find of a job."""
        return [path.name for path in _entries(self._root / job_id)]

    def keep_only(self, job_id: str, names: Sequence[str]) -> None:
        """Remove the other files of a job."""
        for path in _entries(self._root / job_id):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def jobs(self) -> list[str]:
        """Whose files are here."""
        return [path.name for path in _entries(self._root)]

    def sweep(self, at_work: Sequence[str] = ()) -> None:
        """Remove what is old, and of the rest the oldest, so far as it is too large. Never of `at_work`."""
        folders = sorted(
            (_changed(path), path)
            for path in _entries(self._root)
            if path.name not in at_work and path.is_dir()
        )
        sizes = {path: sum(_size(file) for file in _entries(path)) for _, path in folders}
        total = sum(sizes.values())
        for changed, path in folders:
            if changed < time.time() - _OLD or total > self._largest:
                total -= sizes[path]
                shutil.rmtree(path, ignore_errors=True)


def is_full(error: OSError) -> bool:
    """Whether a volume had no room: full, over its quota, or over the size that a file may have."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
