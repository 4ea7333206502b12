"""The data folder: everything that a system keeps, and whose it is.

Two locks guard it. `lock` is held by `mochi up` alone. `processes.lock` is held open by every process that
it starts as well, so it is free only when the last one is gone: a server that outlived its `mochi up`
never shares its files with a new one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.errors import ANOTHER_FOLDER, CannotStart

__all__ = ["DataFolder", "opened"]

#: Bytes below which nothing is started: a video store and an append-only file need room.
LEAST_SPACE = 256_000_000
#: Seconds that what is left of an earlier run has to end: its guardian takes about three.
_PATIENCE = 10.0


@dataclass(frozen=True)
class DataFolder:
    """A folder that is ours now."""

    path: Path  # absolute
    descriptor: int  # of processes.lock: every process is to hold it open

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{name}.log"

    @property
    def secrets(self) -> Path:
        """What only the owner reads."""
        return self.path / "secrets"

    def secret(self, name: str) -> Path:
        """The file of a secret."""
        return self.secrets / name

    @property
    def home(self) -> Path:
        """HOME of the processes."""
        return self.path / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the processes; emptied at each start."""
        return self.path / "tmp"

    @property
    def scratch(self) -> Path:
        """SCRATCH_DIR of the predictor."""
        return self.path / "scratch"


@asynccontextmanager
async def opened(path: Path, purpose: str) -> AsyncIterator[DataFolder]:
    """Make the folder and hold it. `purpose`: what others who want it are told. Raises CannotStart."""
    async with AsyncExitStack() as held:
        try:
            folder = await _open(held, path, purpose)
        except OSError as error:
            raise CannotStart.without(path, error) from None
        yield folder


async def _open(held: AsyncExitStack, path: Path, purpose: str) -> DataFolder:
    path = _made(path)
    _take(held.enter_context(_lock(path / "lock")), path, purpose)
    shared = held.enter_context(_lock(path / "processes.lock"))
    await _wait_for_the_last(shared, path)
    folder = DataFolder(path, shared)
    _prepare(folder)
    return folder


def _made(path: Path) -> Path:
    path = path.absolute()
    if not path.parent.is_dir():
        raise CannotStart(f"{path.parent}: there is no such folder: create it, or {ANOTHER_FOLDER}")
    if path.exists() and not path.is_dir():
        raise CannotStart(f"{path} is a file, and a folder is needed: {ANOTHER_FOLDER}")
    path.mkdir(mode=0o700, exist_ok=True)
    free = shutil.disk_usage(path).free
    if free < LEAST_SPACE:
        raise CannotStart(
            f"{path}: only {free // 1_000_000} MB are free on its disk, and {LEAST_SPACE // 1_000_000} MB "
            f"are needed: make room, or {ANOTHER_FOLDER}"
        )
    return path


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, purpose: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 500, 0).decode("utf-8", "replace").strip()
        raise CannotStart(
            f"{path} is in use by {holder or 'another process'}: use that one, stop it, or {ANOTHER_FOLDER}"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{purpose} (process {os.getpid()})\n".encode(), 0)


async def _wait_for_the_last(descriptor: int, path: Path) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if loop.time() > deadline:
                raise CannotStart(
                    f"{path}: processes of an earlier run are still alive and use it: end them "
                    f"(they hold {path / 'processes.lock'} open), or {ANOTHER_FOLDER}"
                ) from None
        await asyncio.sleep(0.1)  # a lock says nothing to wait for without a thread


def _prepare(folder: DataFolder) -> None:
    shutil.rmtree(folder.temporary, ignore_errors=True)
    for made in (folder.logs, folder.secrets, folder.home, folder.temporary, folder.scratch):
        made.mkdir(mode=0o700, exist_ok=True)
