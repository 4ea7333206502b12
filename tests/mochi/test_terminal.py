"""Text that is safe on any terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from mochi import BadRequest, FieldProblem, Job, Problem
from mochi.terminal import clean, describe, print_error, print_job, print_jobs, print_json, say, seconds
from tests.mochi.answers import at_work, completed, failed, waiting

EVIL = "a\x1b]0;owned\x07b\nc\u202ed[red]\ud800"


def test_control_characters_are_spelled_out() -> None:
    assert clean(EVIL) == "a\\x1b]0;owned\\x07b\\nc\\u202ed[red]\\ud800"
    assert clean("ä 🎬") == "ä 🎬"


def test_nothing_that_a_server_says_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job.parse(
        {
            **failed(),
            "phase": EVIL,
            "queue": EVIL,
            "error": {"code": EVIL, "message": EVIL},
            "request": {"prompt": EVIL, "queue": EVIL},
        }
    )
    print_job(job)
    print_jobs([job])
    print_json(job.raw)
    print_error(BadRequest(Problem(422, EVIL, EVIL, errors=(FieldProblem(EVIL, EVIL, EVIL),))))
    out, err = capsys.readouterr()
    assert "owned" in out
    assert "owned" in err
    assert "[red]" in out  # markup is text
    assert not {c for c in out + err if not c.isprintable()} - {"\n"}


def test_an_ascii_terminal_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("ä")
    assert raw.getvalue() == b"\\xe4\n"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "ä\u2028"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.isascii()
    assert json.loads(out) == {"a": "ä\u2028"}


def test_a_job_in_words() -> None:
    assert (
        describe(Job.parse(waiting())) == "pending, waiting, 0 before it in short-low, starts in about 1.5 s"
    )
    asked = Job.parse(at_work(cancel_requested=True))
    assert describe(asked) == "processing, denoising, step 6 of 24, cancel requested"
    assert describe(Job.parse(completed())) == "completed"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 s"), (8.31, "8.3 s"), (125, "2 min 05 s"), (4200, "1 h 10 min"), (-1, "0.0 s")],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text
