"""`POST /`: CloudEvents as an SDK of theirs and `func invoke` send them."""

from __future__ import annotations

import json
from datetime import datetime

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http

from eventing.short_problems import MAX_BYTES
from tests.functions.support import RecordingBroker

REQUEST = {"prompt": "a red circle moving right", "num_frames": 7, "seed": 3}
ATTRIBUTES = {"type": "com.example.anything", "source": "/test/sdk", "datacontenttype": "application/json"}


@pytest.mark.parametrize("encode", [to_binary, to_structured], ids=["binary", "structured"])
async def test_an_sdk_s_events_are_taken_and_answered_with_one(
    api: httpx.AsyncClient, broker: RecordingBroker, encode: object
) -> None:
    assert callable(encode)
    headers, body = encode(CloudEvent(ATTRIBUTES, REQUEST))
    answer = await api.post("/", content=body, headers=dict(headers))
    assert answer.status_code == 202
    accepted = from_http(dict(answer.headers), answer.content)
    assert accepted["type"] == "dev.mochi.generation.accepted"
    assert accepted["subject"] == accepted.data["job_id"]
    assert accepted["specversion"] == "1.0"
    assert datetime.fromisoformat(accepted["time"]).tzinfo is not None
    assert accepted.data["request"]["prompt"] == REQUEST["prompt"]
    job = (await api.get(f"/jobs/{accepted.data['job_id']}")).json()
    assert job == accepted.data | {"version": job["version"], "updated_at": job["updated_at"]}
    assert [e.data["job_id"] for e in broker.received] == [job["job_id"]]


async def test_what_func_invoke_sends(api: httpx.AsyncClient) -> None:
    headers = {
        "Ce-Id": "b2f2f9f3-6d0a-4a9d-8a2e-9e0a6a1cbb47",
        "Ce-Source": "/boson/fn",
        "Ce-Specversion": "1.0",
        "Ce-Type": "boson.fn",
        "Content-Type": "application/json",
        "User-Agent": "Go-http-client/1.1",
    }
    answer = await api.post("/", content=json.dumps({"prompt": "a fox"}), headers=headers)
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"


async def test_the_trace_of_the_event_goes_on(api: httpx.AsyncClient, broker: RecordingBroker) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers, body = to_structured(CloudEvent({**ATTRIBUTES, "traceparent": trace}, REQUEST))
    answer = await api.post("/", content=body, headers=dict(headers))
    assert answer.headers["ce-traceparent"] == trace
    assert broker.received[0].headers["ce-traceparent"] == trace


async def test_extensions_and_attributes_of_any_kind_do_no_harm(api: httpx.AsyncClient) -> None:
    event = CloudEvent({**ATTRIBUTES, "comexampleorder": "7", "dataschema": "urn:x", "subject": "é"}, REQUEST)
    for encode in (to_binary, to_structured):
        headers, body = encode(event)
        as_utf8 = httpx.Headers(dict(headers), encoding="utf-8")
        assert (await api.post("/", content=body, headers=as_utf8)).status_code == 202
    assert len((await api.get("/jobs")).json()["jobs"]) == 1  # both are the same event


async def test_a_very_long_id_is_an_id(api: httpx.AsyncClient) -> None:
    answers = []
    for end in ("a", "b", "a"):
        body = json.dumps(
            {"specversion": "1.0", "type": "t", "source": "/s", "id": "x" * 20_000 + end, "data": REQUEST}
        )
        headers = {"content-type": "application/cloudevents+json"}
        answers.append((await api.post("/", content=body, headers=headers)).json()["job_id"])
    assert answers[0] == answers[2] != answers[1]


@pytest.mark.parametrize("prefer", ["", "reply"])
async def test_a_refusal_fits_into_a_brokers_dead_letter(api: httpx.AsyncClient, prefer: str) -> None:
    """A longer one ends Knative's in-memory dispatcher. Who is no Broker is told all."""
    wrong = {"width": 1, "height": 1, "num_frames": 1, "seed": -1} | {f"unknown{n}": n for n in range(15)}
    headers, body = to_binary(CloudEvent(ATTRIBUTES, wrong))
    answer = await api.post("/", content=body, headers=dict(headers) | ({"prefer": prefer} if prefer else {}))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "prompt: is missing" in answer.json()["detail"]
    assert (len(answer.content) <= MAX_BYTES) is bool(prefer)
    assert ("errors" in answer.json()) is not bool(prefer)
