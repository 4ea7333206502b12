"""What happens to the processes when their `mochi up` is killed: a real one, small, is killed here."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import pytest

from local.warden import Warden
from tests.local.fakes import Stage, alive, eventually

_PARENT = """
import asyncio, os, sys
from pathlib import Path
from local.supervisor import Supervisor
from local.warden import Warden
from tests.local.fakes import STUBBORN, Stage

async def main(folder):
    stage = Stage(folder)
    async with Warden(folder / "guardian.log", {}, litter=[folder / "litter"]) as warden:
        supervisor = Supervisor(warden, print)
        (folder / "litter").touch()
        await supervisor.start([stage.program("well"), stage.program("stubborn", STUBBORN)])
        old = 0
        while True:
            if warden.pid != old:
                old = warden.pid
                with stage.events.open("a") as file:
                    file.write(f"guardian it {old}\\n")
            await asyncio.sleep(0.02)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage on which a parent has started a well-behaved child and one that heeds nothing."""
    stage = Stage(tmp_path)
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)]) as parent:  # noqa: ASYNC220  # starts in no time
        try:
            await eventually(lambda: bool(stage.notes("guardian")) and len(stage.notes("ready")) == 2)
            with stage.events.open("a") as file:
                file.write(f"parent it {parent.pid}\n")
            yield stage
        finally:
            parent.kill()
    for _, _, pid in stage.notes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _kill_parent(stage: Stage) -> None:
    os.kill(stage.notes("parent")[0][2], signal.SIGKILL)


async def test_all_end_when_the_parent_is_killed(stage: Stage) -> None:
    pids = [pid for _, _, pid in stage.notes()]
    assert len(pids) == 5  # two children, a grandchild, the guardian, the parent
    assert all(map(alive, pids))
    _kill_parent(stage)
    await eventually(lambda: not any(map(alive, pids)), patience=5)
    assert [name for _, name, _ in stage.notes("stop")] == ["well"]  # it was asked first
    assert not (stage.folder / "litter").exists()


async def test_a_guardian_that_is_killed_is_replaced_and_the_next_knows_all(stage: Stage) -> None:
    os.kill(stage.notes("guardian")[0][2], signal.SIGKILL)
    await eventually(lambda: len(stage.notes("guardian")) == 2)
    pids = [pid for _, _, pid in stage.notes()]
    _kill_parent(stage)
    await eventually(lambda: not any(map(alive, pids)), patience=5)


async def test_a_guardian_heeds_no_signal_that_a_terminal_or_a_user_sends(stage: Stage) -> None:
    guardian = stage.notes("guardian")[0][2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian, number)
    _kill_parent(stage)
    await eventually(lambda: not any(alive(pid) for _, _, pid in stage.notes()), patience=5)


def test_half_a_number_is_nobodys() -> None:
    """A parent that dies while it speaks: `start 123` cut to `start 12` must not end group 12."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as bystander:
        try:
            script = Path("local/guardian.py").absolute()
            said = io.BytesIO(f"start {bystander.pid}".encode())  # no end of line
            subprocess.run(
                [sys.executable, "-I", "-S", str(script)], input=said.getvalue(), check=True, timeout=30
            )
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_group_that_has_ended_is_left_alone() -> None:
    """Its number may be another's by now."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as bystander:
        try:
            said = f"start {bystander.pid}\nend {bystander.pid}\n".encode()
            script = Path("local/guardian.py").absolute()
            subprocess.run([sys.executable, "-I", "-S", str(script)], input=said, check=True, timeout=30)
            assert bystander.poll() is None
        finally:
            bystander.kill()


class FullAtTimes:
    """A log for which there is no room when it is opened for the second and the third time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = 0

    def open(self, mode: str) -> IO[bytes]:
        self.opened += 1
        if self.opened in (2, 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert mode == "ab"
        return self.path.open("ab")


async def test_a_guardian_that_cannot_be_replaced_at_once_is_replaced_later(tmp_path: Path) -> None:
    log = FullAtTimes(tmp_path / "guardian.log")
    async with Warden(cast(Path, log), {}) as warden:
        first = warden.pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: warden.pid != first)
        assert alive(warden.pid)
    assert log.opened == 4
