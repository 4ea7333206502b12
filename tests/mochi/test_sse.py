"""The parser of server-sent events, against the HTML standard."""

from __future__ import annotations

import pytest

from mochi.errors import UnexpectedAnswer
from mochi.sse import LIMIT, Message, SseParser


def parse(*chunks: bytes) -> list[Message]:
    parser = SseParser()
    return [message for chunk in chunks for message in parser.feed(chunk)]


TEXT = (
    "\ufeffid: 1\r\nevent: status\r\ndata: ä\u2028b\r\ndata:  c\r\n\r\n"
    ": comment\rretry: 20\rdata\r\ndata:x\n\n"
).encode()
MESSAGES = [Message("status", "ä\u2028b\n c", "1"), Message("message", "\nx", "1")]


def test_it_reads_the_standards_grammar() -> None:
    assert parse(TEXT) == MESSAGES


def test_chunks_may_be_cut_anywhere() -> None:
    for cut in range(len(TEXT)):
        assert parse(TEXT[:cut], TEXT[cut:]) == MESSAGES, cut
    assert parse(*(bytes([b]) for b in TEXT)) == MESSAGES


def test_only_a_complete_event_moves_the_last_id() -> None:
    parser = SseParser("7")
    assert not list(parser.feed(b"id: 8\ndata: x\n"))
    assert parser.last_event_id == "7"
    assert [m.id for m in parser.feed(b"\n")] == ["8"]
    assert parser.last_event_id == "8"


def test_retry_and_ids_that_are_none_are_told_apart() -> None:
    parser = SseParser()
    assert [m.id for m in parser.feed(b"retry: 2000\nretry: soon\nid: 3\nid: a\0b\ndata: x\n\n")] == ["3"]
    assert parser.retry_ms == 2000


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"x" * 1000])
def test_what_has_no_end_is_refused(line: bytes) -> None:
    parser = SseParser()
    before = LIMIT // len(line)
    assert not any(list(parser.feed(line)) for _ in range(before - 100))
    with pytest.raises(UnexpectedAnswer, match="more than"):
        list(parser.feed(line * 200))
