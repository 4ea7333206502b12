"""What is refused before KServe sees it. No server: an app of the same framework, with our rules."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from inference_service.bodies import BODY_LIMIT
from inference_service.kserve_routes import add_kserve_rules

CALLS = pytest.mark.parametrize("path", ["/v1/models/mochi-1:predict", "/v2/models/mochi-1/infer"])


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    add_kserve_rules(app)
    for path in ("/v1/models/mochi-1:predict", "/v2/models/mochi-1/infer", "/events"):
        app.add_route(path, length, methods=["POST"])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
        yield client


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length no header tells."""
    for start in range(0, size, 10_000):
        yield b"x" * min(10_000, size - start)


@CALLS
async def test_a_body_of_the_limit_arrives_whole(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, content=b"x" * BODY_LIMIT)).text == str(BODY_LIMIT)
    assert (await client.post(path, content=chunks(BODY_LIMIT))).text == str(BODY_LIMIT)
    assert (await client.post(path)).text == "0"


@CALLS
async def test_a_larger_one_is_refused_in_kserves_form(client: httpx.AsyncClient, path: str) -> None:
    for content in (b"x" * (BODY_LIMIT + 1), chunks(BODY_LIMIT + 1)):
        answer = await client.post(path, content=content)
        assert answer.status_code == 422
        assert answer.json()["error"] == f"body: is too large (allowed: at most {BODY_LIMIT} bytes)"


async def test_no_more_is_read_than_shows_that_it_is_too_large(client: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 10_000
            yield b"x" * 10_000

    answer = await client.post("/v2/models/mochi-1/infer", content=endless())
    assert answer.status_code == 422
    assert read <= BODY_LIMIT + 20_000


async def test_events_are_left_to_their_own_limit(client: httpx.AsyncClient) -> None:
    assert (await client.post("/events", content=b"x" * (BODY_LIMIT + 1))).text == str(BODY_LIMIT + 1)


@pytest.mark.parametrize("path", ["load", "unload"])
async def test_the_one_model_is_not_unloaded(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(f"/v2/repository/models/mochi-1/{path}")
    assert answer.status_code == 404
    assert "keeps" in answer.json()["error"]
