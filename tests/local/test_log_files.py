from __future__ import annotations

from pathlib import Path

import pytest

from local import log_files
from local.log_files import last_reason, rotate


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n", "two"),
        ('{"level": "info", "event": "ready"}\n', ""),
        (
            '{"level": "error", "event": "cannot_start", "reason": "no model"}\n{"level": "info"}\n',
            "no model",
        ),
        ('{"level": "error", "event": "broke"}\n', "broke"),
        ('{"level": "error", "reason": "first"}\n{"level": "error", "reason": "last"}\nplain\n', "last"),
        ('{"level": "info"}\nTraceback\nValueError: no\n', "ValueError: no"),
        ("{not JSON\n", ""),
        ("[1]\n", "[1]"),
        ("many   spaces\tand tabs", "many spaces and tabs"),
        ("x" * 1000, "x" * 399 + "…"),
    ],
)
def test_the_last_reason(tmp_path: Path, text: str, reason: str) -> None:
    log = tmp_path / "a.log"
    log.write_text(text)
    assert last_reason(log) == reason


def test_only_what_this_run_wrote_counts(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"old\nnew\n")
    assert last_reason(log, since=4) == "new"
    assert last_reason(log, since=8) == ""


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b'{"level": "error", "reason": "long ago"}\n' + b"line\n" * 10_000 + b"\xff last\n")
    assert last_reason(log) == "\ufffd last"


def test_no_log(tmp_path: Path) -> None:
    assert last_reason(tmp_path / "none.log") == ""


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    rotate(log)
    for size, left in ((log_files.LIMIT, ["a.log"]), (log_files.LIMIT + 1, ["a.log.1"])):
        with log.open("wb") as file:
            file.truncate(size)
        rotate(log)
        assert [path.name for path in tmp_path.iterdir()] == left
