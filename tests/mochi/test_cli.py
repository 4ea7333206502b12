"""The commands, run in this process against a real server: what they print, and how they end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mochi.cli import app
from mochi.exit_codes import ExitCode
from tests.mochi.answers import (
    JOB_ID,
    VIDEO,
    at_work,
    cancelled,
    completed,
    event,
    failed,
    problem,
    small,
    waiting,
)
from tests.mochi.fake_server import Answer, FakeServer, dead_url, json_answer, ranged, stream

SUBMIT = "POST /jobs"
LIST = "GET /jobs"
JOB = f"GET /jobs/{JOB_ID}"
CANCEL = f"POST /jobs/{JOB_ID}/cancel"
EVENTS = f"GET /jobs/{JOB_ID}/events"
RESULT = f"GET /jobs/{JOB_ID}/result"
MD5 = hashlib.md5(VIDEO, usedforsecurity=False).hexdigest()


Mochi = Callable[..., Result]


@pytest.fixture
def mochi(server: FakeServer) -> Mochi:
    def run(*args: str, stdin: str | bytes | None = None, url: str | None = None) -> Result:
        return CliRunner().invoke(app, list(args), input=stdin, env={"MOCHI_URL": url or server.url})

    return run


@pytest.fixture
def running(server: FakeServer) -> None:
    """A server whose job waits, works and completes."""
    server.on(SUBMIT, json_answer(waiting(), 202))
    server.on(JOB, json_answer(waiting()), json_answer(at_work()), json_answer(completed()))
    server.on(EVENTS, stream(event(small(), 5), event(completed(), 9, "completed")))
    server.on(RESULT, ranged(VIDEO, MD5))


def test_submit_prints_the_id(mochi: Mochi, server: FakeServer) -> None:
    server.on(SUBMIT, json_answer(waiting(), 202))
    result = mochi("submit", "a red circle", "--steps", "12", "--duration", "1.5", "--seed", "7")
    assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
    assert f"mochi watch {JOB_ID}" in result.stderr
    body = {"prompt": "a red circle", "num_inference_steps": 12, "duration_seconds": 1.5, "seed": 7}
    assert server.asked(SUBMIT)[0].json == body


def test_every_option_has_its_field(mochi: Mochi, server: FakeServer) -> None:
    server.on(SUBMIT, json_answer(waiting(), 202))
    options = {
        "--negative-prompt": ("negative_prompt", "blur"),
        "--width": ("width", 848),
        "--height": ("height", 480),
        "--num-frames": ("num_frames", 7),
        "--quality": ("quality", "low"),
        "--guidance": ("guidance_scale", 4.5),
        "--queue": ("queue", "short-low"),
        "--deadline": ("deadline", "2030-01-31T12:00:00Z"),
    }
    flags = [word for option, (_, value) in options.items() for word in (option, str(value))]
    assert mochi("submit", "x", *flags, "--idempotency-key", "order-1").exit_code == 0
    [seen] = server.asked(SUBMIT)
    assert seen.json == {"prompt": "x", **dict(options.values())}
    assert seen.headers["idempotency-key"] == "order-1"


def test_a_prompt_from_standard_input_or_a_file(mochi: Mochi, server: FakeServer, tmp_path: Path) -> None:
    server.on(SUBMIT, json_answer(waiting(), 202))
    (tmp_path / "prompt.txt").write_text("\ufeffein Löwe\n", "utf-8")
    assert mochi("submit", "-", stdin="ein Löwe\n").exit_code == 0
    assert mochi("submit", "-f", "-", stdin="ein Löwe\n").exit_code == 0
    assert mochi("submit", "--file", str(tmp_path / "prompt.txt")).exit_code == 0
    assert [seen.json for seen in server.asked(SUBMIT)] == [{"prompt": "ein Löwe\n"}] * 3


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        ((), None, "prompt: is missing (allowed: one of PROMPT, --file FILE, and - for standard input)"),
        (("x", "--file", "y"), None, "prompt: given twice"),
        (("-",), b"\xff\xfe", "prompt: is no UTF-8"),
        (("-",), b"x" * (1024 * 1024 + 1), "prompt: has more than 1048576 bytes"),
        (
            ("x", "-o", "no/such/folder/a.mp4"),
            None,
            "--output: no/such/folder/a.mp4: its folder does not exist",
        ),
        (("x", "-o", "/"), None, "--output: /: is a folder"),
        (("x", "--timeout", "5"), None, "--timeout: there is nothing to wait for"),
    ],
)
def test_a_wrong_submission_asks_nothing(
    mochi: Mochi, server: FakeServer, args: tuple[str, ...], stdin: bytes | None, words: str
) -> None:
    result = mochi("submit", *args, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert not server.seen


def test_a_file_that_is_not_there(mochi: Mochi) -> None:
    result = mochi("submit", "--file", "/no/such/file")
    assert result.exit_code == ExitCode.BROKEN
    assert "No such file" in result.stderr


def test_a_refusal_names_each_field_and_its_option(mochi: Mochi, server: FakeServer) -> None:
    errors = [
        {"field": "width", "problem": "850 is no multiple of 16", "allowed": "16 to 848"},
        {"field": "num_inference_steps", "problem": "1 is too few", "allowed": "2 to 200"},
    ]
    server.on(SUBMIT, json_answer(problem(422, "invalid-request", errors=errors), 422))
    result = mochi("submit", "x")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: width: 850 is no multiple of 16 (allowed: 16 to 848)",
        "error: num_inference_steps (--steps): 1 is too few (allowed: 2 to 200)",
    ]


@pytest.mark.usefixtures("running")
def test_submit_does_it_all(mochi: Mochi, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    result = mochi("submit", "x", "--wait", "-o", str(path))
    assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
    assert path.read_bytes() == VIDEO
    assert result.stderr.splitlines() == [
        "pending, waiting, 0 before it",
        "processing, denoising",
        "completed",
        "downloading 102.4 kB",
        f"completed: {path}",
    ]


@pytest.mark.usefixtures("running")
def test_with_json_standard_output_is_one_document(mochi: Mochi, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    result = mochi("submit", "x", "-o", str(path), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {**completed(), "file": str(path)}


@pytest.mark.usefixtures("running")
def test_watch_follows_to_the_end(mochi: Mochi) -> None:
    result = mochi("watch", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == f"completed; to fetch the video: mochi download {JOB_ID}"


@pytest.mark.usefixtures("running")
def test_watch_prints_each_event_as_json(mochi: Mochi) -> None:
    result = mochi("watch", JOB_ID, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [small(), completed()]


@pytest.mark.parametrize(
    "args", [("submit", "x", "--json"), ("show", JOB_ID, "--json"), ("cancel", JOB_ID, "--json")]
)
def test_json_is_the_job_as_it_came(mochi: Mochi, server: FakeServer, args: tuple[str, ...]) -> None:
    for route in (SUBMIT, JOB, CANCEL):
        server.on(route, json_answer(waiting()))
    result = mochi(*args)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == waiting()


def test_list_in_words_and_in_json(mochi: Mochi, server: FakeServer) -> None:
    server.on(LIST, json_answer({"jobs": [waiting(), at_work()], "next_cursor": None}))
    words = mochi("list", "--status", "pending", "--queue", "short-low", "-n", "5").stdout.splitlines()
    assert words[0].split() == ["job", "status", "queue", "progress", "created", "prompt"]
    assert words[1].split()[:4] == [JOB_ID, "pending", "short-low", "waiting"]
    assert words[2].split()[:4] == [JOB_ID, "processing", "short-low", "6/24"]
    assert server.asked(LIST)[0].target == "/jobs?status=pending&queue=short-low&limit=5"
    assert json.loads(mochi("list", "--json").stdout) == [waiting(), at_work()]


def test_an_empty_list(mochi: Mochi, server: FakeServer) -> None:
    server.on(LIST, json_answer({"jobs": [], "next_cursor": None}))
    assert (mochi("list").stdout, mochi("list").stderr) == ("", "no jobs\n")
    assert mochi("list", "--json").stdout == "[]\n"


def test_show_says_everything(mochi: Mochi, server: FakeServer) -> None:
    server.on(JOB, json_answer(completed()))
    words = mochi("show", JOB_ID).stdout
    for expected in (
        JOB_ID,
        "848x480",
        "7 frames at 30 fps, 0.23 s",
        MD5,
        "milestones",
        "a red circle — moving",
    ):
        assert expected in words


def test_show_says_why_a_job_took_long(mochi: Mochi, server: FakeServer) -> None:
    attempts = [
        {
            "attempt": number,
            "slot": f"host-{number}:7",
            "started_at": f"2026-01-02T03:0{number}:00Z",
            "ended_at": None if number == 3 else f"2026-01-02T03:0{number}:50Z",
            "first_step": first,
            "last_step": last,
            "ended": ended,
        }
        for number, first, last, ended in ((1, 0, 9, "lost"), (2, 6, 12, "continued"), (3, 12, 13, ""))
    ]
    server.on(JOB, json_answer(at_work(attempts=attempts)))
    words = mochi("show", JOB_ID).stdout.splitlines()
    at = words.index("attempts")
    assert [line.split() for line in words[at + 1 : at + 5]] == [
        ["attempt", "started", "took", "steps", "ended", "slot"],
        ["1", "2026-01-02", "03:01:00Z", "50.0", "s", "0-9", "of", "24", "lost", "host-1:7"],
        ["2", "2026-01-02", "03:02:00Z", "50.0", "s", "6-12", "of", "24", "continued", "host-2:7"],
        ["3", "2026-01-02", "03:03:00Z", "now", "12-13", "of", "24", "at", "work", "host-3:7"],
    ]
    assert "lost" not in mochi("show", JOB_ID, "--json").stderr


def test_show_of_a_job_without_attempts(mochi: Mochi, server: FakeServer) -> None:
    without = {name: value for name, value in waiting().items() if name != "attempts"}
    server.on(JOB, json_answer(without))
    assert "attempts" not in mochi("show", JOB_ID).stdout


def test_cancel_says_what_became_of_it(mochi: Mochi, server: FakeServer) -> None:
    server.on(CANCEL, json_answer(cancelled()))
    assert mochi("cancel", JOB_ID).stdout == f"job {JOB_ID} is cancelled\n"
    server.on(CANCEL, json_answer(at_work(cancel_requested=True), 202))
    assert mochi("cancel", JOB_ID).stdout == f"job {JOB_ID} is processing: it ends at its next step\n"


@pytest.mark.usefixtures("running")
def test_download_prints_the_path(mochi: Mochi, server: FakeServer, tmp_path: Path) -> None:
    server.on(JOB, json_answer(completed()))
    path = tmp_path / "a.mp4"
    assert mochi("download", JOB_ID, "-o", str(path)).stdout == f"{path}\n"
    assert path.read_bytes() == VIDEO
    assert json.loads(mochi("download", JOB_ID, "-o", str(path), "--json").stdout)["file"] == str(path)


#: Exit code, command, and what the server answers. 0, 130 and 141 have tests of their own.
ENDS = [
    (1, ("watch", JOB_ID), {EVENTS: stream(event(failed(), 9, "failed")), JOB: json_answer(failed())}),
    (1, ("watch", JOB_ID, "--json"), {EVENTS: stream(event(failed(), 9, "failed"))}),
    (1, ("download", JOB_ID), {JOB: json_answer(failed())}),
    (2, ("submit", "x"), {SUBMIT: json_answer(problem(422, "invalid-request"), 422)}),
    (2, ("list", "--status", "dreaming"), {}),
    (2, ("list", "-n", "0"), {}),
    (2, ("dance",), {}),
    (2, ("show",), {}),
    (2, ("--url", "nowhere", "list"), {}),
    (3, ("list",), {LIST: json_answer(problem(503, "store-unavailable"), 503)}),
    (3, ("list",), {LIST: json_answer(problem(429, "backlog-full"), 429, retry_after="60")}),
    (3, ("--url", dead_url(), "list"), {}),
    (4, ("show", JOB_ID), {JOB: json_answer(problem(404, "job-not-found"), 404)}),
    (4, ("show", "no/id"), {}),
    (
        5,
        ("watch", JOB_ID),
        {EVENTS: stream(event(cancelled(), 9, "cancelled")), JOB: json_answer(cancelled())},
    ),
    (6, ("watch", JOB_ID, "--timeout", "0.1"), {JOB: json_answer(waiting())}),
    (6, ("watch", JOB_ID, "--timeout", "0.1", "--json"), {JOB: json_answer(waiting())}),
    (7, ("download", JOB_ID), {JOB: json_answer(at_work())}),
    (7, ("cancel", JOB_ID), {CANCEL: json_answer(problem(409, "cannot-cancel"), 409)}),
    (8, ("list",), {}),  # 404 without a problem: another server
    (8, ("list",), {LIST: Answer(200, {"content-length": "6"}, b"<html>")}),
]


@pytest.mark.parametrize(("code", "args", "answers"), ENDS)
def test_exit_codes(
    mochi: Mochi,
    server: FakeServer,
    code: int,
    args: tuple[str, ...],
    answers: dict[str, Answer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for route, answer in answers.items():
        server.on(route, answer)
    result = mochi(*args)
    assert result.exit_code == code, result.stderr
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_download_that_does_not_check_out(mochi: Mochi, server: FakeServer, tmp_path: Path) -> None:
    server.on(JOB, json_answer(completed()))
    server.on(RESULT, ranged(VIDEO[::-1], MD5))
    result = mochi("download", JOB_ID, "-o", str(tmp_path / "a.mp4"))
    assert result.exit_code == ExitCode.BROKEN
    assert "damaged" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_failed_job_says_why(mochi: Mochi, server: FakeServer) -> None:
    server.on(JOB, json_answer(failed()))
    server.on(EVENTS, stream(event(failed(), 9, "failed")))
    result = mochi("watch", JOB_ID)
    assert result.stderr.splitlines()[-1] == f"error: job {JOB_ID} failed: too large (out_of_memory)"


def test_help_documents_every_exit_code(mochi: Mochi) -> None:
    words = mochi("--help").stdout
    for code in ExitCode:
        assert any(line.split() == [str(code.value), *code.meaning.split()] for line in words.splitlines())
    tested = {code for code, _, _ in ENDS} | {0, 130, 141}
    assert tested == {code.value for code in ExitCode}


def test_every_command_has_help(mochi: Mochi) -> None:
    for command in ("up", "demo", "submit", "watch", "list", "show", "cancel", "download"):
        result = mochi(command, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
    assert mochi("--version").stdout.startswith("mochi ")
