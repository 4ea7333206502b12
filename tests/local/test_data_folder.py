from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.data_folder import opened
from local.errors import CannotStart


async def test_is_made_for_its_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", "a test") as folder:
        assert folder.path == tmp_path / "data"
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert folder.log("a") == folder.logs / "a.log"
        assert all(f.is_dir() for f in (folder.logs, folder.home, folder.scratch, folder.secrets))


async def test_a_second_one_at_the_same_time_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, "mochi up at http://127.0.0.1:8080"):
        with pytest.raises(CannotStart) as raised:
            async with opened(tmp_path, "another"):
                pass
    assert str(raised.value) == (
        f"{tmp_path} is in use by mochi up at http://127.0.0.1:8080 (process {os.getpid()}): "
        "use that one, stop it, or choose another folder with --data-dir"
    )


async def test_it_can_be_opened_again_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    async with opened(tmp_path, "first") as folder:
        (folder.home / "kept").touch()
        (folder.temporary / "dropped").touch()
    async with opened(tmp_path, "second") as folder:
        assert (folder.home / "kept").exists()
        assert not (folder.temporary / "dropped").exists()


async def test_waits_for_the_processes_of_an_earlier_run(tmp_path: Path) -> None:
    """What holds processes.lock open is a process that has outlived its `mochi up`."""
    lock = os.open(tmp_path / "processes.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    holder = [sys.executable, "-c", "input()"]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, pass_fds=[lock]) as left:  # noqa: ASYNC220  # starts in no time
        os.close(lock)

        async def open_it() -> bool:
            async with opened(tmp_path, "next"):
                return left.poll() is not None

        opening = asyncio.create_task(open_it())
        done, _ = await asyncio.wait([opening], timeout=0.3)
        assert not done
        assert left.stdin is not None
        left.stdin.close()
        left.wait(30)
        assert await opening


async def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="file is a file, and a folder is needed: choose another folder"):
        async with opened(tmp_path / "file", "a test"):
            pass


async def test_no_folder_to_make_it_in(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="none: there is no such folder: create it, or choose another"):
        async with opened(tmp_path / "none" / "data", "a test"):
            pass


async def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Permissions do not stop root: a folder where the lock file should be does."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(CannotStart, match="lock: Is a directory: make it writable, or choose another"):
        async with opened(tmp_path, "a test"):
            pass


async def test_an_error_of_the_work_in_it_passes_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the work's own"):
        async with opened(tmp_path, "a test"):
            raise OSError("the work's own")
