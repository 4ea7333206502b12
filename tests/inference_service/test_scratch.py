from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference_service.scratch import Scratch

_HOLD = """
import sys, pathlib
from inference_service.scratch import Scratch
scratch = Scratch(pathlib.Path(sys.argv[1]))
(scratch.folder / "video.mp4").write_text("half")
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def hold(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_the_living_keep_theirs(tmp_path: Path) -> None:
    (killed, lost), (living, kept) = hold(tmp_path), hold(tmp_path)
    with killed, living:
        assert (lost / "video.mp4").exists()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        scratch = Scratch(tmp_path)
        assert not lost.exists()
        assert (kept / "video.mp4").exists()
        assert scratch.folder.is_dir()
        scratch.close()
        living.kill()


def test_a_folder_without_a_lock_is_removed(tmp_path: Path) -> None:
    (tmp_path / "work" / "torn").mkdir(parents=True)
    scratch = Scratch(tmp_path)
    assert list((tmp_path / "work").iterdir()) == [scratch.folder]
    scratch.close()


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    Scratch(tmp_path).close()
    assert list((tmp_path / "work").iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=os.strerror(20)):
        Scratch(tmp_path / "file" / "scratch")
