"""Decoding and encoding: both modes, round trips, and everything that is refused, by name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.codec import InvalidEvent, decode, encode
from eventing.events import Event
from jobs.errors import InvalidRequest
from tests.eventing.specification import violations
from tests.eventing.values import events, json_objects, names, sources, texts

GOOD = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/s",
    "ce-type": "t",
    "content-type": "application/json",
}
DATA = {"prompt": "a red circle"}
BODY = json.dumps(DATA).encode()
ENVELOPE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": DATA}
STRUCTURED = {"content-type": "application/cloudevents+json"}


def structured(change: dict[str, Any] | None = None, content_type: str = STRUCTURED["content-type"]) -> Event:
    return decode({"Content-Type": content_type}, json.dumps(ENVELOPE | (change or {})).encode())


def refused(headers: dict[str, str], body: bytes = BODY) -> dict[str, str]:
    """The fields that are named, each with what is said of it."""
    with pytest.raises(InvalidEvent) as caught:
        decode(headers, body)
    assert all(e.problem and e.allowed and len(e.problem) < 200 for e in caught.value.errors)
    assert len({e.field for e in caught.value.errors}) == len(caught.value.errors), "each field once"
    return {e.field: e.problem for e in caught.value.errors}


def refused_structured(change: dict[str, Any]) -> dict[str, str]:
    return refused(STRUCTURED, json.dumps(ENVELOPE | change).encode())


def assert_event_or_refused(headers: dict[str, str], body: bytes) -> None:
    try:
        event = decode(headers, body)
    except InvalidEvent:
        return
    assert isinstance(event.data, dict)
    # Without what JSON has not, and names longer than they should be, it can be sent on.
    sent = encode(replace(event, data={}, extensions={}))
    assert violations(*sent) == []


@given(events)
def test_what_is_encoded_is_decoded(event: Event) -> None:
    headers, body = encode(event)
    assert decode(headers, body) == event
    over_http = {name.title(): v.encode("ascii").decode("latin-1") for name, v in headers.items()}
    assert decode(over_http, body) == event


@given(
    st.fixed_dictionaries(
        {"id": texts, "source": sources, "type": texts, "subject": texts, "data": json_objects}
    )
)
def test_structured_events_of_any_text(fields: dict[str, Any]) -> None:
    for ascii_only in (True, False):
        body = json.dumps({"specversion": "1.0"} | fields, ensure_ascii=ascii_only)
        event = decode(STRUCTURED, body.encode("utf-8", "surrogatepass"))
        assert {n: getattr(event, n) for n in fields} == fields


@given(st.dictionaries(st.sampled_from(list(GOOD)) | st.from_regex(r"ce-.{0,5}"), st.text()), st.binary())
def test_anything_is_an_event_or_refused(headers: dict[str, str], body: bytes) -> None:
    for given_headers in (headers, GOOD | headers, headers | STRUCTURED):
        assert_event_or_refused(given_headers, body)


@given(
    json_objects, st.dictionaries(st.sampled_from(list(ENVELOPE)) | names, st.none() | texts | st.floats())
)
def test_any_json_object_is_an_event_or_refused(data: dict[str, Any], envelope: dict[str, Any]) -> None:
    assert_event_or_refused(STRUCTURED, json.dumps(ENVELOPE | data | envelope).encode())


def test_an_error_is_an_invalid_request_with_status_400() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({}, b"")
    assert (caught.value.status, caught.value.slug) == (400, "invalid-event")


def test_header_names_of_any_case() -> None:
    event = decode({name.upper(): value for name, value in GOOD.items()} | {"CE-Queue": "q"}, BODY)
    assert (event.id, event.data, event.extensions) == ("1", DATA, {"queue": "q"})


def test_headers_that_are_no_attributes_are_passed_over() -> None:
    event = decode(GOOD | {"host": "h", "traceparent": "t", "x-ce-y": "z", "ce-dataschema": "urn:x"}, BODY)
    assert event == Event("t", "/s", "1", "", None, DATA)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    headers = {"ce-specversion": "0.3", "ce-id": "", "ce-time": "now", "ce-my_name": "x", "ce-subject": "%00"}
    assert set(refused(headers, b"no JSON")) == {
        *("specversion", "id", "source", "type", "time", "my_name", "subject", "data")
    }
    wrong = {"specversion": None, "id": 1.5, "source": "a b", "type": "", "Name": "x", "data": "x"}
    assert set(refused_structured(wrong)) == {"specversion", "id", "source", "type", "Name", "data"}


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_a_required_attribute_that_is_missing_or_empty(name: str) -> None:
    assert refused({n: v for n, v in GOOD.items() if n != f"ce-{name}"}) == {name: "is missing"}
    assert set(refused(GOOD | {f"ce-{name}": ""})) == {name}
    assert refused_structured({name: None}) == {name: "is missing"}
    assert set(refused_structured({name: ""})) == {name}
    assert set(refused_structured({name: ["x"]})) == {name}


def test_a_subject_is_optional_but_not_empty() -> None:
    assert decode(GOOD, BODY).subject == structured().subject == ""
    assert refused(GOOD | {"ce-subject": ""}) == {"subject": "is empty"}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05.5z", datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789+01:30", datetime(2026, 1, 2, 1, 34, 5, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    assert decode(GOOD | {"ce-time": text}, BODY).time == time
    assert structured({"time": text}).time == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1767323045",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-02-30T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:61Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z\n",
    ],
)
def test_what_is_no_time(text: str) -> None:
    assert set(refused_structured({"time": text})) == {"time"}


@pytest.mark.parametrize("name", ["my-name", "my_name", "näme", "data", "", "n\x00", "x" * 100 + "!"])
def test_names_that_are_not_allowed(name: str) -> None:
    (field,) = refused(GOOD | {f"ce-{name}": "x"})
    assert field == (name[:64] or '""')


def test_upper_case_names_in_json_are_not_allowed() -> None:
    assert set(refused_structured({"Queue": "q"})) == {"Queue"}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("%41%42", "AB"),
        ('"a \\"quoted\\" \\\\ value"', 'a "quoted" \\ value'),
        ('"half', '"half'),
        ('"', '"'),
        ("50%", "50%"),
        ("%zz", "%zz"),
        ("%2541", "%41"),
        (" padded\t", "padded"),
        ("Grüße", "Grüße"),
        ("Grüße".encode().decode("latin-1"), "Grüße"),
        ("日本", "日本"),
    ],
)
def test_header_values(header: str, value: str) -> None:
    assert decode(GOOD | {"ce-subject": header}, BODY).subject == value


@pytest.mark.parametrize(
    "value",
    ["%C0%A0", "%FF", "a%E2%82", "%0A", "a\nb", "a\r\nce-id: 2", "\x7f", "%C2%85", "%EF%BF%BF", "\ud800"],
)
def test_header_values_that_are_refused(value: str) -> None:
    for name in ("subject", "id", "type", "source", "queue"):
        assert set(refused(GOOD | {f"ce-{name}": value})) == {name}


@pytest.mark.parametrize(
    ("header", "source"),
    [
        ("/s", "/s"),
        ("urn:a:b%2520c", "urn:a:b%20c"),
        ("https://h/a%20b", "https://h/a%20b"),  # not encoded for the header
        ("%2Fa", "/a"),
    ],
)
def test_a_source_is_a_uri_reference_encoded_for_the_header_or_not(header: str, source: str) -> None:
    assert decode(GOOD | {"ce-source": header}, BODY).source == source


@pytest.mark.parametrize("source", ["a b", "ü", "{x}", "50%"])
def test_what_is_no_uri_reference(source: str) -> None:
    assert set(refused_structured({"source": source})) == {"source"}


def test_values_in_json_become_strings() -> None:
    event = structured({"flag": True, "order": -7, "nothing": None, "queue": "q", "dataschema": "urn:x"})
    assert event.extensions == {"flag": "true", "order": "-7", "queue": "q"}


@pytest.mark.parametrize(
    "content_type",
    ["application/cloudevents+json; charset=UTF-8", 'Application/CloudEvents+JSON;charset="utf-8"'],
)
def test_structured_content_types(content_type: str) -> None:
    assert structured(content_type=content_type).data == DATA


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/cloudevents-batch+json", "batch"),
        ("application/cloudevents+avro", "not supported"),
        ("application/cloudevents", "not supported"),
        ("application/cloudevents+json; charset=utf-16", "not supported"),
    ],
)
def test_structured_content_types_that_are_not_taken(content_type: str, said: str) -> None:
    assert (
        said in refused(GOOD | {"content-type": content_type}, json.dumps(ENVELOPE).encode())["content-type"]
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b"1" * 5000])
def test_structured_bodies_that_are_no_object(body: bytes) -> None:
    assert set(refused(STRUCTURED, body)) == {"body"}


def test_headers_say_nothing_in_structured_mode() -> None:
    event = decode(GOOD | {"ce-id": "other", "ce-queue": "q"} | STRUCTURED, json.dumps(ENVELOPE).encode())
    assert (event.id, event.extensions) == ("1", {})


def test_data_in_base64() -> None:
    body = json.dumps({n: v for n, v in ENVELOPE.items() if n != "data"} | {"data_base64": _base64(BODY)})
    assert decode(STRUCTURED, body.encode()).data == DATA
    assert set(refused_structured({"data_base64": _base64(BODY)})) == {"data"}
    for wrong in ("!", 7, None, _base64(b"no JSON"), _base64(b"[]"), ""):
        envelope = {n: v for n, v in ENVELOPE.items() if n != "data"} | {"data_base64": wrong}
        assert set(refused(STRUCTURED, json.dumps(envelope).encode())) == {"data"}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/x+json",
        "text/json",
    ],
)
def test_content_types_of_data(content_type: str) -> None:
    assert decode(GOOD | {"content-type": content_type}, BODY).data == DATA
    change = {"datacontenttype": content_type} if content_type else {}
    assert structured(change).data == DATA


def test_no_content_type_is_json() -> None:
    assert decode({n: v for n, v in GOOD.items() if n != "content-type"}, BODY).data == DATA


@pytest.mark.parametrize(
    "content_type",
    [
        "application/xml",
        "application/octet-stream",
        "json",
        "application/json; charset=utf-16",
        "text/html",
        "\x00/json",
    ],
)
def test_content_types_that_are_not_json(content_type: str) -> None:
    assert set(refused(GOOD | {"content-type": content_type}, b"<x/>")) == {"datacontenttype"}
    assert "datacontenttype" in refused_structured({"datacontenttype": content_type, "data": "<x/>"})


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/plain; charset=utf-8"])
def test_data_that_is_text_with_a_json_object_in_it(content_type: str) -> None:
    """`func invoke` sends text/plain as it is; its first versions sent JSON as text within JSON."""
    headers = GOOD | {"content-type": content_type}
    assert decode(headers, BODY).data == DATA
    assert decode(headers, json.dumps(BODY.decode()).encode()).data == DATA
    assert structured({"datacontenttype": content_type, "data": BODY.decode()}).data == DATA


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[]", b"null", b"7", b'"text"', b'"[]"', b"\xff{}", b"{", b"[" * 100_000, b"1" * 5000],
    ids=repr,
)
def test_data_that_is_no_json_object(body: bytes) -> None:
    for content_type in ("application/json", "text/plain"):
        assert set(refused(GOOD | {"content-type": content_type}, body)) == {"data"}


def test_no_data_at_all() -> None:
    assert refused(STRUCTURED, json.dumps({n: v for n, v in ENVELOPE.items() if n != "data"}).encode()) == {
        "data": "is missing"
    }


def test_numbers_that_are_none_reach_the_validation_of_their_field() -> None:
    data = decode(GOOD, b'{"guidance_scale": NaN, "seed": 1e999}').data
    assert data["guidance_scale"] != data["guidance_scale"]
    assert data["seed"] == float("inf")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"source": "a b"}, "source"),
        ({"type": ""}, "type"),
        ({"subject": "\ud800"}, "subject"),
        ({"data": {"a": float("nan")}}, "data"),
        ({"data": {"a": b"bytes"}}, "data"),
        ({"time": datetime(2026, 1, 2)}, "time"),  # noqa: DTZ001  # a naive time is what is wrong
        ({"extensions": {"my-name": "x"}}, "my-name"),
        ({"extensions": {"data": "x"}}, "data"),
        ({"extensions": {"id": "x"}}, "id"),
        ({"extensions": {"datacontenttype": "x"}}, "datacontenttype"),
        ({"extensions": {"queue": "a\r\nhost: b"}}, "queue"),
    ],
)
def test_what_is_no_event_is_not_sent(change: dict[str, Any], named: str) -> None:
    good: dict[str, Any] = {"type": "t", "source": "/s", "id": "1", "subject": "", "time": None, "data": {}}
    with pytest.raises(InvalidEvent) as caught:
        encode(Event(**(good | change)))
    assert named in {e.field for e in caught.value.errors}
