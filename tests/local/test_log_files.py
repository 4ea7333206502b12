from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from local import log_files
from local.log_files import keep_small, last_reason, rotate, turn_over


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


def test_a_process_goes_on_writing_into_a_log_that_is_turned_over(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as written:
        written.truncate(log_files.LIMIT)
        turn_over(log)
        assert log.stat().st_size == log_files.LIMIT
        since = written.write(b"first\n") + log_files.LIMIT
        turn_over(log)
        written.write(b"last\n")
    assert log.read_bytes() == b"last\n"
    assert (tmp_path / "a.log.1").stat().st_size == since
    assert last_reason(log, since) == "last"


async def test_logs_are_kept_small_while_the_system_runs(tmp_path: Path) -> None:
    logs = [tmp_path / "none.log", tmp_path / "a.log"]
    with logs[1].open("wb") as file:
        file.truncate(log_files.LIMIT + 1)
    keeping = asyncio.create_task(keep_small(logs, every=0))
    async with asyncio.timeout(30):
        while logs[1].stat().st_size:  # noqa: ASYNC110  # nobody says so
            await asyncio.sleep(0)
    keeping.cancel()


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    rotate(log)
    for size, left in ((log_files.LIMIT, ["a.log"]), (log_files.LIMIT + 1, ["a.log.1"])):
        with log.open("wb") as file:
            file.truncate(size)
        rotate(log)
        assert [path.name for path in tmp_path.iterdir()] == left
