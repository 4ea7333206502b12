"""Events on the wire."""

from __future__ import annotations

import json

import pytest

from local.broker.events import NotACloudEvent, WireEvent, is_event, read_event
from local.broker.hops import MAX_HOPS, hops_of

NEEDED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
BINARY = {f"ce-{name}": value for name, value in NEEDED.items()}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}


def structured(**members: object) -> WireEvent:
    return read_event(STRUCTURED, json.dumps({**NEEDED, **members}).encode())


@pytest.mark.parametrize(
    ("members", "content_type", "data"),
    [
        ({"data": {"a": [1, None]}}, "application/json", b'{"a":[1,null]}'),
        ({"data": None}, "application/json", b"null"),
        ({"data": "text"}, "application/json", b'"text"'),
        ({"data": "text", "datacontenttype": "text/plain"}, "text/plain", b"text"),
        ({"data": "text", "datacontenttype": "application/vnd.x+json"}, "application/vnd.x+json", b'"text"'),
        ({"data_base64": "AP8=", "datacontenttype": "image/png"}, "image/png", b"\x00\xff"),
        ({}, None, b""),
    ],
)
def test_structured_data(members: dict[str, object], content_type: str | None, data: bytes) -> None:
    event = structured(**members)
    assert (event.attributes.get("datacontenttype"), event.data) == (content_type, data)


def test_structured_attributes_are_in_their_canonical_form() -> None:
    attributes = structured(flag=True, count=3, none=None, word="w").attributes
    assert attributes == {**NEEDED, "flag": "true", "count": "3", "word": "w"}


def test_both_modes_become_the_same_headers() -> None:
    event = structured(subject='žlutý "kůň" 100%', data=1)
    headers = event.headers()
    assert all(value.isascii() and " " not in value for value in headers.values())
    assert headers["content-type"] == "application/json"
    assert read_event(headers, event.data) == event


@pytest.mark.parametrize(
    ("headers", "body", "field"),
    [
        ({}, b"", "specversion"),
        ({**BINARY, "ce-specversion": "0.3"}, b"", "specversion"),
        ({**BINARY, "ce-source": ""}, b"", "source"),
        ({**BINARY, "ce-time": "today"}, b"", "time"),
        ({**BINARY, "ce-under_score": "1"}, b"", "under_score"),
        ({**BINARY, "ce-other": "%00"}, b"", "other"),
        ({**BINARY, "ce-other": "%ff"}, b"", "other"),
        ({**BINARY, "content-type": "text"}, b"", "datacontenttype"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", "content-type"),
        ({"content-type": "application/cloudevents+avro"}, b"", "content-type"),
        (STRUCTURED, b"[]", "body"),
        (STRUCTURED, b"{", "body"),
        (STRUCTURED, b"\xff", "body"),
        (STRUCTURED, b"[" * 100_000, "body"),
        (STRUCTURED, json.dumps({**NEEDED, "count": 1.5}).encode(), "count"),
        (STRUCTURED, json.dumps({**NEEDED, "data_base64": "?"}).encode(), "data_base64"),
        (STRUCTURED, json.dumps({**NEEDED, "data_base64": 1}).encode(), "data_base64"),
        (STRUCTURED, json.dumps({**NEEDED, "data": float("nan")}).encode(), "body"),
        (STRUCTURED, json.dumps({**NEEDED, "subject": "\ud800"}).encode(), "subject"),
    ],
)
def test_what_is_wrong_is_named(headers: dict[str, str], body: bytes, field: str) -> None:
    with pytest.raises(NotACloudEvent) as raised:
        read_event(headers, body)
    assert [error.field for error in raised.value.errors] == [field]


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(NotACloudEvent) as raised:
        read_event({"ce-specversion": "1.0", "ce-id": ""}, b"")
    assert {error.field for error in raised.value.errors} == {"id", "source", "type"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [(BINARY, True), (STRUCTURED, True), ({"content-type": "application/json"}, False), ({}, False)],
)
def test_a_claim_to_be_an_event(headers: dict[str, str], expected: bool) -> None:
    assert is_event(headers) is expected


@pytest.mark.parametrize(
    ("given", "hops"),
    [("", MAX_HOPS), ("x", MAX_HOPS), ("3", 2), ("256", MAX_HOPS), ("99999999", MAX_HOPS), ("-5", MAX_HOPS)],
)
def test_hops(given: str, hops: int) -> None:
    assert hops_of(WireEvent({"knativebrokerttl": given} if given else {}, b"")) == hops


@pytest.mark.parametrize("given", ["0", "1"])
def test_no_hops_left(given: str) -> None:
    with pytest.raises(NotACloudEvent, match="loop"):
        hops_of(WireEvent({"knativebrokerttl": given}, b""))
