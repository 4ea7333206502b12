"""What we send holds to the CloudEvents specification; and the checker that says so can say no."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from eventing.codec import encode
from eventing.events import EVENT_TYPES, TYPE_PREFIX, Event
from jobs.job import EventKind
from tests.eventing.specification import violations
from tests.eventing.values import JOB, event, events

GOOD = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/s",
    "ce-type": "t",
    "content-type": "application/json",
}


@pytest.mark.parametrize("kind", EventKind)
def test_what_we_send(kind: EventKind) -> None:
    headers, body = encode(event(kind))
    assert violations(headers, body) == []
    assert headers["ce-type"] == f"{TYPE_PREFIX}{kind}"
    assert headers["ce-id"] == f"{JOB}:{kind}:1767323045000006"
    assert headers["ce-subject"] == JOB
    assert headers["ce-time"] == "2026-01-02T03:04:05.000006Z"
    assert headers["ce-source"] == "/mochi/submit"
    assert headers["ce-delivery"] == "1767323045000006"
    assert headers["ce-attempt"] == "2"
    assert headers["ce-queue"] == "short-low"
    assert all(isinstance(value, str) for value in headers.values())
    assert isinstance(body, bytes)
    assert json.loads(body)["job_id"] == JOB


@pytest.mark.parametrize("kind", ["submitted", "accepted"])
def test_the_types_that_are_no_delivery(kind: str) -> None:
    sent = Event(
        f"{TYPE_PREFIX}{kind}", "/mochi/submit", "1", "ünïcode", datetime.now(UTC), {"prompt": "日本"}
    )
    assert sent.type in EVENT_TYPES
    assert violations(*encode(sent)) == []


@given(events)
def test_whatever_encode_takes(sent: Event) -> None:
    assert violations(*encode(sent)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ce-id": ""}, "id"),
        ({"ce-specversion": "0.3"}, "specversion"),
        ({"ce-source": "a b"}, "source"),
        ({"ce-source": "%7Bx%7D"}, "source"),
        ({"ce-time": "2026-01-02 03:04:05Z"}, "time"),
        ({"ce-time": "2026-01-02T03:04:05"}, "time"),
        ({"ce-time": "2026-02-30T03:04:05Z"}, "time"),
        ({"ce-subject": ""}, "subject"),
        ({"ce-subject": "ü"}, "subject"),
        ({"ce-subject": "a b"}, "subject"),
        ({"ce-subject": '"a"'}, "subject"),
        ({"ce-subject": "50%"}, "subject"),
        ({"ce-subject": "%FF"}, "subject"),
        ({"ce-subject": "%0A"}, "subject"),
        ({"ce-my_extension": "1"}, "my_extension"),
        ({"ce-averyveryverylongname": "1"}, "averyveryverylongname"),
        ({"ce-data": "1"}, "data"),
        ({"ce-datacontenttype": "application/json"}, "ce-datacontenttype"),
        ({"ce-dataschema": "no-scheme"}, "dataschema"),
        ({"content-type": "json"}, "datacontenttype"),
        ({"content-type": ""}, "content-type"),
    ],
)
def test_the_checker_sees_what_is_wrong_in_binary_mode(change: dict[str, str], named: str) -> None:
    assert violations(GOOD, b"{}") == []
    found = violations(GOOD | change, b"{}")
    assert any(line.startswith((f"{named}:", f"ce-{named}:")) for line in found), found


def test_the_checker_misses_no_missing_attribute() -> None:
    assert len(violations({}, b"")) == 4
    assert len(violations({"content-type": "application/cloudevents+json"}, b"{}")) == 4


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"a": NaN}', b""])
def test_the_checker_reads_the_data(body: bytes) -> None:
    assert bool(violations(GOOD, body)) is bool(body)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": None}, "id"),
        ({"id": 1.5}, "id"),
        ({"Upper": "x"}, "Upper"),
        ({"data_base64": "!"}, "data_base64"),
        ({"data": 1, "data_base64": ""}, "data"),
        ({"order": 2**31}, "order"),
        ({"time": "now"}, "time"),
        ({"order": []}, "order"),
    ],
)
def test_the_checker_sees_what_is_wrong_in_structured_mode(change: dict[str, object], named: str) -> None:
    good = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "flag": True, "count": 7}
    headers = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
    assert violations(headers, json.dumps(good).encode()) == []
    found = violations(headers, json.dumps(good | change).encode())
    assert any(line.startswith(f"{named}:") for line in found), found


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/cloudevents-batch+json", b"[]"),
        ("application/cloudevents+json", b"[]"),
        ("application/cloudevents+json", b"{"),
        ("application/cloudevents+json; charset=latin1", b"{}"),
    ],
)
def test_the_checker_sees_what_is_no_structured_event(content_type: str, body: bytes) -> None:
    assert len(violations({"content-type": content_type}, body)) == 1
