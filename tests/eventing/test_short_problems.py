from __future__ import annotations

import json
from base64 import b64encode

import pytest

from eventing.short_problems import MAX_BYTES, short_problem

PROBLEM = {"type": "/problems/invalid-event", "title": "The event is not valid", "status": 400}
ERRORS = [{"field": f"field{n}", "problem": "is unknown", "allowed": "prompt"} for n in range(3)]


def test_the_limit_fills_the_attribute() -> None:
    assert len(b64encode(b"x" * MAX_BYTES)) == 1024
    assert len(b64encode(b"x" * (MAX_BYTES + 1))) > 1024


def test_a_short_one_is_whole() -> None:
    found = {**PROBLEM, "detail": "no", "errors": ERRORS}
    assert json.loads(short_problem(found)) == found


def test_a_longer_one_keeps_its_detail() -> None:
    found = {**PROBLEM, "detail": "x" * 500, "errors": ERRORS}
    assert json.loads(short_problem(found)) == {**PROBLEM, "detail": "x" * 500}


@pytest.mark.parametrize("character", ["x", "ž", "\ud800", "😀", '"', "\x00"])
@pytest.mark.parametrize("length", [*range(550, 700, 7), 10_000])
def test_a_long_detail_is_cut(character: str, length: int) -> None:
    body = short_problem({**PROBLEM, "detail": character * length, "errors": ERRORS})
    assert len(body) <= MAX_BYTES
    found = json.loads(body)
    assert found["status"] == 400
    assert found["detail"].startswith(character * 40)
    if character == "x" and length > 700:
        assert len(body) > MAX_BYTES - 120, "most of it is kept"
