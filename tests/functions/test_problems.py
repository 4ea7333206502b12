from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from functions import problems
from functions.errors import CannotCancel, RangeNotSatisfiable
from functions.submit.models import Problem
from jobs.errors import (
    BacklogFull,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    MochiError,
    NotReady,
    StorageUnavailable,
    StoreUnavailable,
)


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (JobNotFound("x" * 1000), 404, {"job_id": "x" * 64}),
        (IdempotencyConflict("abc"), 422, {"job_id": "abc"}),
        (NotReady("abc", "pending"), 409, {"job_id": "abc", "job_status": "pending"}),
        (CannotCancel("abc", "failed"), 409, {"job_id": "abc", "job_status": "failed"}),
        (StoreUnavailable("Redis is away"), 503, {}),
    ],
)
def test_a_problem_document(error: MochiError, status: int, more: dict[str, str]) -> None:
    answer = problems.problem(error)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    found = json.loads(bytes(answer.body))
    expected = {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": status,
        "detail": str(error),
    }
    assert found == expected | more


def test_every_wrong_field_is_listed() -> None:
    error = InvalidRequest([FieldError("width", "850 is not allowed", "16s"), FieldError("\ud800", "b", "c")])
    found = json.loads(bytes(problems.problem(error).body))
    assert found["errors"] == [
        {"field": "width", "problem": "850 is not allowed", "allowed": "16s"},
        {"field": "\ud800", "problem": "b", "allowed": "c"},
    ]
    assert "width: 850 is not allowed (allowed: 16s)" in found["detail"]


def test_a_flood_of_wrong_fields_is_cut() -> None:
    error = InvalidRequest([FieldError(f"f{i}", "is unknown", "prompt") for i in range(5000)])
    found = json.loads(bytes(problems.problem(error).body))
    assert len(found["errors"]) == 100
    assert found["detail"].endswith("; and 4900 more")


def test_a_retry_is_announced() -> None:
    assert problems.problem(BacklogFull("short-low", 10, 7)).headers["retry-after"] == "7"
    assert "retry-after" not in problems.problem(JobNotFound("x")).headers


def test_a_range_outside_says_the_size() -> None:
    assert problems.problem(RangeNotSatisfiable(9)).headers["content-range"] == "bytes */9"


async def _defect(_request: Request) -> Response:
    raise RuntimeError("the secret text")


async def _cut(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise StorageUnavailable("S3 is away")

    return StreamingResponse(chunks())


async def _refused(_request: Request) -> Response:
    raise StoreUnavailable("Redis is away")


@pytest.fixture
def app() -> Starlette:
    app = Starlette(
        routes=[
            Route("/defect", _defect, methods=["GET"]),
            Route("/defect", _defect, methods=["POST"]),
            Route("/cut", _cut),
            Route("/refused", _refused),
        ]
    )
    problems.install(app)
    return app


@pytest.fixture
def client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://function")


async def test_a_defect_is_logged_once_and_its_text_is_not_shown(
    client: httpx.AsyncClient,
) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await client.get("/defect")
    assert [(line["event"], line["log_level"]) for line in logs] == [("defect", "error")]
    assert logs[0]["exc_info"] is True
    assert answer.status_code == 500
    Problem.model_validate(answer.json())
    assert answer.json()["type"] == "/problems/internal-error"
    assert "secret" not in answer.text


async def test_an_error_on_purpose(client: httpx.AsyncClient) -> None:
    answer = await client.get("/refused")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == "Redis is away"


async def test_the_framework_s_own_errors_are_problems(client: httpx.AsyncClient) -> None:
    missing, wrong = await client.get("/nowhere"), await client.delete("/defect")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    for answer in (missing, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "about:blank"


async def test_an_answer_that_breaks_off_is_left_so_and_logged_as_what_it_is(app: Starlette) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/cut", "headers": [], "query_string": b""}
    with structlog.testing.capture_logs() as logs:
        await app(scope, receive, send)
    assert [m.get("body") for m in sent[1:]] == [b"half"]
    assert sent[1]["more_body"] is True
    assert [(line["event"], line["reason"]) for line in logs] == [("cut_off", "S3 is away")]
