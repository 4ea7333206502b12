"""Each kind of bad input: a problem that names every wrong field, and not a trace in Redis."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

GOOD: dict[str, Any] = {"prompt": "a red circle moving right"}
JSON = {"content-type": "application/json"}
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "boson.fn", **JSON}
MEGABYTES = b'{"prompt": "' + b"x" * 2_000_000 + b'"}'


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param({}, ["prompt"], id="no prompt"),
        pytest.param({"prompt": None}, ["prompt"], id="prompt null"),
        pytest.param({"prompt": ""}, ["prompt"], id="empty"),
        pytest.param({"prompt": " \n\t "}, ["prompt"], id="blank"),
        pytest.param({"prompt": "x" * 2001}, ["prompt"], id="2001 characters"),
        pytest.param({"prompt": "a\x00b"}, ["prompt"], id="control character"),
        pytest.param({"prompt": "a\x1b[31mb"}, ["prompt"], id="escape sequence"),
        pytest.param({"prompt": "half \ud800 a pair"}, ["prompt"], id="surrogate"),
        pytest.param(GOOD | {"negative_prompt": "x" * 2001}, ["negative_prompt"], id="negative prompt"),
        pytest.param(GOOD | {"width": 850, "height": 480}, ["width"], id="850x480"),
        pytest.param(GOOD | {"width": 0, "height": 0}, ["height", "width"], id="size 0"),
        pytest.param(GOOD | {"width": -16, "height": -480}, ["height", "width"], id="negative size"),
        pytest.param(GOOD | {"width": 864}, ["width"], id="wider than the model"),
        pytest.param(GOOD | {"width": 848, "height": 848}, ["height", "width"], id="more pixels"),
        pytest.param(GOOD | {"num_frames": 8}, ["num_frames"], id="8 frames"),
        pytest.param(GOOD | {"num_frames": 5}, ["num_frames"], id="5 frames"),
        pytest.param(GOOD | {"num_frames": 164}, ["num_frames"], id="164 frames"),
        pytest.param(GOOD | {"duration_seconds": 60}, ["duration_seconds"], id="a minute"),
        pytest.param(GOOD | {"duration_seconds": -1}, ["duration_seconds"], id="negative duration"),
        pytest.param(GOOD | {"num_inference_steps": 0}, ["num_inference_steps"], id="0 steps"),
        pytest.param(GOOD | {"num_inference_steps": 1}, ["num_inference_steps"], id="1 step"),
        pytest.param(GOOD | {"num_inference_steps": 201}, ["num_inference_steps"], id="201 steps"),
        pytest.param(GOOD | {"guidance_scale": float("nan")}, ["guidance_scale"], id="guidance NaN"),
        pytest.param(GOOD | {"guidance_scale": float("inf")}, ["guidance_scale"], id="guidance infinite"),
        pytest.param(GOOD | {"guidance_scale": 0}, ["guidance_scale"], id="guidance 0"),
        pytest.param(GOOD | {"quality": "best"}, ["quality"], id="unknown quality"),
        pytest.param(GOOD | {"seed": -1}, ["seed"], id="negative seed"),
        pytest.param(GOOD | {"seed": 2**53}, ["seed"], id="seed beyond JavaScript"),
        pytest.param(GOOD | {"queue": "fast"}, ["queue"], id="unknown queue"),
        pytest.param(GOOD | {"deadline": "tomorrow"}, ["deadline"], id="no time"),
        pytest.param(GOOD | {"deadline": "2099-01-01T00:00:00"}, ["deadline"], id="no time zone"),
        pytest.param(GOOD | {"deadline": 4_000_000_000}, ["deadline"], id="seconds since the epoch"),
        pytest.param(GOOD | {"colour": "red"}, ["colour"], id="unknown field"),
        pytest.param(GOOD | {"width": "848"}, ["width"], id="wrong type: text"),
        pytest.param(GOOD | {"width": 848.5}, ["width"], id="wrong type: fraction"),
        pytest.param(GOOD | {"seed": True}, ["seed"], id="wrong type: boolean"),
        pytest.param({"prompt": ["a"]}, ["prompt"], id="wrong type: list"),
        pytest.param(
            GOOD | {"num_frames": 7, "duration_seconds": 1},
            ["duration_seconds", "num_frames"],
            id="two lengths",
        ),
        pytest.param(
            GOOD | {"quality": "low", "num_inference_steps": 9},
            ["num_inference_steps", "quality"],
            id="two qualities",
        ),
        pytest.param(
            {"prompt": "", "width": 850, "num_frames": 8, "seed": -1, "queue": "x", "colour": 1},
            ["colour", "num_frames", "prompt", "queue", "seed", "width"],
            id="all at once",
        ),
        pytest.param([GOOD], ["body"], id="a list"),
        pytest.param("a red circle", ["body"], id="a string"),
        pytest.param(None, ["body"], id="null"),
    ],
)
@pytest.mark.parametrize("door", ["http", "event"])
async def test_a_bad_request_names_its_fields(
    api: httpx.AsyncClient, body: object, fields: list[str], door: str
) -> None:
    path, headers = ("/jobs", {**JSON, "idempotency-key": "k"}) if door == "http" else ("/", EVENT)
    answer = await api.post(path, content=json.dumps(body), headers=headers)
    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    # Of an event the codec may have refused what is no JSON object at all; it calls it data.
    named = sorted({e["field"] for e in problem["errors"]})
    assert named == fields or (door == "event" and fields == ["body"] and named == ["data"])
    assert all(e["problem"] and e["allowed"] for e in problem["errors"])
    assert all(name in problem["detail"] for name in named)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [(None, 415), ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("application/xml", 415)],
)
async def test_a_wrong_content_type(api: httpx.AsyncClient, content_type: str | None, status: int) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await api.post("/jobs", content=json.dumps(GOOD), headers=headers)
    assert answer.status_code == status
    assert [e["field"] for e in answer.json()["errors"]] == ["Content-Type"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"prompt=a", b'{"prompt": "\xff"}', b'{"prompt": "a"} more', b"[" * 60_000],
    ids=["empty", "cut off", "a form", "no UTF-8", "more than one", "too deep"],
)
async def test_what_is_no_json(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/jobs", content=body, headers=JSON)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["body"]


async def _in_chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(MEGABYTES), 65536):
        yield MEGABYTES[start : start + 65536]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize(("path", "headers"), [("/jobs", JSON), ("/", EVENT)], ids=["http", "event"])
async def test_a_body_of_2_mb(
    api: httpx.AsyncClient, path: str, headers: dict[str, str], chunked: bool
) -> None:
    answer = await api.post(path, content=_in_chunks() if chunked else MEGABYTES, headers=headers)
    assert answer.status_code == 413
    assert [e["field"] for e in answer.json()["errors"]] == ["body"]
    assert len(answer.content) < 1000


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256], ids=["empty", "space", "é", "long"])
async def test_what_is_no_idempotency_key(api: httpx.AsyncClient, key: str) -> None:
    answer = await api.post("/jobs", json=GOOD, headers=[(b"idempotency-key", key.encode())])
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["Idempotency-Key"]


@pytest.mark.usefixtures("untouched")
async def test_two_idempotency_keys(api: httpx.AsyncClient) -> None:
    answer = await api.post("/jobs", json=GOOD, headers=[("idempotency-key", "a"), ("idempotency-key", "b")])
    assert answer.status_code == 422
    assert "more than once" in answer.json()["detail"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("cursor=made-up", ["cursor"]),
        ("cursor=", ["cursor"]),
        ("cursor=%00%ff", ["cursor"]),
        ("cursor=-1", ["cursor"]),
        ("status=done&queue=fast&limit=0&order=asc", ["limit", "order", "queue", "status"]),
    ],
)
async def test_a_bad_listing(api: httpx.AsyncClient, query: str, fields: list[str]) -> None:
    answer = await api.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert sorted(e["field"] for e in answer.json()["errors"]) == fields


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("change", "data", "named"),
    [
        ({"ce-id": None}, GOOD, "id"),
        ({"ce-id": ""}, GOOD, "id"),
        ({"ce-source": None}, GOOD, "source"),
        ({"ce-type": None}, GOOD, "type"),
        ({"ce-specversion": None}, GOOD, "specversion"),
        ({"ce-specversion": "0.3"}, GOOD, "specversion"),
        ({}, "no JSON", "data"),
        ({"content-type": "text/plain"}, "a red circle", "data"),
    ],
    ids=["no id", "empty id", "no source", "no type", "no specversion", "0.3", "no JSON", "text"],
)
@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_what_is_no_cloud_event(
    api: httpx.AsyncClient, change: dict[str, str | None], data: object, named: str, mode: str
) -> None:
    headers = {name: value for name, value in (EVENT | change).items() if value is not None}
    body = data if isinstance(data, str) else json.dumps(data)
    if mode == "structured":
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        if isinstance(data, str):
            attributes["datacontenttype"] = headers["content-type"]
        body = json.dumps(attributes | {"data": data})
        headers = {"content-type": "application/cloudevents+json"}
    answer = await api.post("/", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert any(named in e["field"].lower() for e in answer.json()["errors"])


@pytest.mark.usefixtures("untouched")
async def test_json_that_is_no_cloud_event_names_the_attributes_that_are_missing(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/", json=GOOD)
    assert answer.status_code in (400, 415)
    for attribute in ("specversion", "id", "source", "type"):
        assert attribute in answer.json()["detail"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("DELETE", "/jobs", 405, "GET, HEAD, POST"),
        ("PUT", "/jobs/0123", 405, "GET, HEAD"),
        ("OPTIONS", "/jobs", 405, "GET, HEAD, POST"),
        ("HEAD", "/jobs/0123/events", 405, "GET"),
        ("GET", "/nowhere", 404, None),
        ("GET", "/jobs/0123/poster", 404, None),
        ("POST", "/jobs/0123/delete", 404, None),
    ],
)
async def test_a_route_that_is_none(
    api: httpx.AsyncClient, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("allow") == allowed
