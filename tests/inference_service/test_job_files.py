from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import structlog

from inference_service.job_files import JobFiles


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs")
    assert files.read("a", "x") is None
    files.write("a", "x", b"1")
    files.write("a", "x", b"2")
    files.write("a", "y", b"3")
    assert (files.read("a", "x"), files.read("a", "y")) == (b"2", b"3")
    files.keep_only("a", ["y"])
    assert (files.read("a", "x"), files.read("a", "y")) == (None, b"3")
    assert files.jobs() == ["a"]
    files.remove("a")
    assert files.jobs() == []
    files.remove("a")


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs")
    (tmp_path / "jobs" / "a" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.write("a", "x", b"1")
    assert [path.name for path in (tmp_path / "jobs" / "a").iterdir()] == ["x"]
    assert files.read("a", "x") is None


def test_what_is_not_kept_is_said(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs")
    with structlog.testing.capture_logs() as logs:
        assert files.keep("a", "x", b"1", otherwise="it is elsewhere")
        assert logs == []
        (tmp_path / "jobs" / "b").write_text("no folder")
        assert not files.keep("b", "x", b"1", otherwise="it is elsewhere")
    assert [(line["event"], line["consequence"]) for line in logs] == [
        ("scratch_unwritable", "it is elsewhere")
    ]
    assert files.read("a", "x") == b"1"


def test_old_jobs_go_and_the_oldest_where_there_is_too_much(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs", largest=25)
    now = time.time()
    for name, age in {"day": 90_000, "older": 300, "old": 200, "new": 100, "at_work": 100_000}.items():
        files.write(name, "x", bytes(10))
        os.utime(tmp_path / "jobs" / name, (now - age, now - age))
    files.sweep(["at_work"])
    assert sorted(files.jobs()) == ["at_work", "new", "old"]
    files.sweep()
    assert sorted(files.jobs()) == ["new", "old"]
