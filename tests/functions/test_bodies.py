from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from functions.bodies import decode_json, read_body, require_json
from functions.errors import BodyTooLarge, WrongContentType
from jobs.errors import InvalidRequest


def request(chunks: Iterator[bytes], **headers: str) -> Request:
    async def receive() -> Message:
        chunk = next(chunks, b"")
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def test_a_body_of_the_limit_is_read_whole() -> None:
    assert await read_body(request(iter([b"x" * 60, b"y" * 40])), limit=100) == b"x" * 60 + b"y" * 40


async def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    chunks = iter([b"x" * 101])
    with pytest.raises(BodyTooLarge):
        await read_body(request(chunks, content_length="101"), limit=100)
    assert len(next(chunks)) == 101


async def test_a_body_that_does_not_say_so_is_read_no_further_than_the_limit() -> None:
    chunks = iter([b"x" * 60, b"y" * 60, b"never read"])
    with pytest.raises(BodyTooLarge, match="at most 100 bytes"):
        await read_body(request(chunks), limit=100)
    assert next(chunks) == b"never read"


@pytest.mark.parametrize(
    "given",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
    ],
)
def test_json_is_taken(given: str) -> None:
    require_json(request(iter([]), content_type=given))


@pytest.mark.parametrize(
    "given", ["", "text/plain", "application/json; charset=latin-1", "application/jsonl", "json"]
)
def test_any_other_type_is_refused_by_name(given: str) -> None:
    with pytest.raises(WrongContentType, match="Content-Type"):
        require_json(request(iter([]), content_type=given))


def test_a_missing_type_is_refused() -> None:
    with pytest.raises(WrongContentType, match="is missing"):
        require_json(request(iter([])))


def test_a_key_given_twice_counts_as_its_last_value() -> None:
    assert decode_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"prompt", b'{"prompt": "\xff"}', b"[" * 60_000, b'{"seed": 1' + b"0" * 5000 + b"}"],
    ids=["empty", "cut", "bare word", "no UTF-8", "too deep", "too many digits"],
)
def test_what_is_no_json_names_the_body(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_json(body)
    assert [e.field for e in caught.value.errors] == ["body"]
    assert len(str(caught.value)) < 400
