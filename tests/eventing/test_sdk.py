"""The CloudEvents SDK and we understand each other, and so do `func invoke` and we."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http
from cloudevents.pydantic import CloudEvent as PydanticCloudEvent

from eventing.codec import decode, encode
from jobs.job import EventKind
from tests.eventing.values import event

DATA = {"prompt": "ein roter Kreis, größer werdend", "seed": 7}
ATTRIBUTES = {
    "type": "com.example.wanted",
    "source": "https://example.com/a?b=c",
    "subject": "one",
    "queue": "q",
}
ENCODERS = pytest.mark.parametrize("convert", [to_binary, to_structured], ids=["binary", "structured"])


@ENCODERS
@pytest.mark.parametrize("sdk", [CloudEvent, PydanticCloudEvent.create], ids=["http", "pydantic"])
def test_what_the_sdk_sends_is_taken(
    convert: Callable[..., tuple[dict[str, str], bytes]], sdk: Callable[..., CloudEvent]
) -> None:
    sent = sdk(ATTRIBUTES | {"datacontenttype": "application/json"}, DATA)
    headers, body = convert(sent)
    headers = {n: v.value if n == "ce-specversion" and hasattr(v, "value") else v for n, v in headers.items()}
    taken = decode(headers, body)
    assert (taken.type, taken.source, taken.subject) == tuple(
        ATTRIBUTES[n] for n in ("type", "source", "subject")
    )
    assert (taken.id, taken.data, taken.extensions) == (sent["id"], DATA, {"queue": "q"})
    assert taken.time is not None
    assert taken.time.utcoffset() is not None


def test_bytes_that_the_sdk_sends_in_base64_are_taken() -> None:
    headers, body = to_structured(CloudEvent(ATTRIBUTES, json.dumps(DATA).encode()))
    assert b"data_base64" in body
    assert decode(headers, body).data == DATA


@pytest.mark.parametrize("kind", EventKind)
def test_what_we_send_the_sdk_takes(kind: EventKind) -> None:
    sent = event(kind)
    taken = from_http(*encode(sent))
    assert taken.get_data() == sent.data
    assert (taken["id"], taken["source"], taken["type"], taken["subject"]) == (
        *(sent.id, sent.source, sent.type, sent.subject),
    )
    assert datetime.fromisoformat(taken["time"]) == sent.time
    assert {name: taken[name] for name in sent.extensions} == sent.extensions


FUNC = {
    "Ce-Id": "b7a1b5a1-6a0c-4b7e-8a0f-0d9f5c0b8f6e",
    "Ce-Source": "/boson/fn",
    "Ce-Specversion": "1.0",
    "Ce-Type": "boson.fn",
    "Content-Length": "23",
    "User-Agent": "Go-http-client/1.1",
}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"prompt":"a fox"}'),
        ("application/json", '"{\\"prompt\\":\\"a fox\\"}"'),
        ("text/plain", '{"prompt": "a fox"}'),
    ],
    ids=["json", "json in a json string", "text"],
)
def test_what_func_invoke_sends_is_taken(content_type: str, body: str) -> None:
    taken = decode(FUNC | {"Content-Type": content_type}, body.encode())
    assert (taken.type, taken.source, taken.data) == ("boson.fn", "/boson/fn", {"prompt": "a fox"})
