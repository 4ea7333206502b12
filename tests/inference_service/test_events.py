"""The `/events` route over real HTTP: uvicorn with the route alone, and a scripted pipeline."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from eventing.events import TYPE_PREFIX
from inference_service.events import add_events_route
from jobs.job import Job
from tests.inference_service.rig import Rig, Scripted, serving, until


@pytest.fixture
async def url(rig: Rig) -> AsyncIterator[str]:
    app = Starlette()
    add_events_route(app, lambda: rig.predictor)
    async with serving(app) as address:
        yield f"{address}/events"


def binary(job: Job, **changes: str) -> dict[str, str]:
    """The headers of a `requested` event in binary mode."""
    return {
        "ce-specversion": "1.0",
        "ce-id": f"{job.id}:requested:{job.delivery}",
        "ce-source": "/mochi/submit",
        "ce-type": f"{TYPE_PREFIX}requested",
        "ce-subject": job.id,
        "ce-delivery": str(job.delivery),
        "content-type": "application/json",
    } | changes


async def post(url: str, headers: dict[str, str], data: object, patience: float = 60) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(url, headers=headers, content=json.dumps(data), timeout=patience)


async def test_a_binary_event_is_answered_with_the_completed_event(rig: Rig, url: str) -> None:
    job = await rig.submit()
    answer = await post(url, binary(job), {"job_id": job.id})
    assert answer.status_code == 200
    assert answer.headers["ce-type"] == f"{TYPE_PREFIX}completed"
    assert answer.headers["ce-source"] == "/mochi/predictor"
    assert answer.headers["ce-subject"] == job.id
    assert answer.json()["video"]["key"].startswith(f"videos/{job.id}/")


async def test_a_structured_event_is_taken_too(rig: Rig, url: str) -> None:
    job = await rig.submit()
    event = {k.removeprefix("ce-"): v for k, v in binary(job).items() if k.startswith("ce-")}
    event |= {"datacontenttype": "application/json"}
    answer = await post(
        url,
        {"content-type": "application/cloudevents+json"},
        event | {"data": {"job_id": job.id}},
    )
    assert (answer.status_code, answer.headers["ce-type"]) == (200, f"{TYPE_PREFIX}completed")


async def test_nothing_to_say_is_204_and_empty(rig: Rig, url: str) -> None:
    job = await rig.submit()
    unknown = uuid.uuid4().hex
    answer = await post(url, binary(job), {"job_id": unknown})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("headers", "data", "named"),
    [
        ({"ce-type": f"{TYPE_PREFIX}completed"}, {"job_id": "0" * 32}, "type"),
        ({"ce-type": ""}, {"job_id": "0" * 32}, "type"),
        ({"ce-specversion": "0.3"}, {"job_id": "0" * 32}, "specversion"),
        ({}, {}, "job_id"),
        ({}, {"job_id": "../../etc"}, "job_id"),
        ({}, {"job_id": 7}, "job_id"),
        ({}, {"job_id": "0" * 32, "more": "x" * 70_000}, "too large"),
    ],
)
async def test_what_can_never_work_is_400_and_says_why(
    rig: Rig, pipeline: Scripted, url: str, headers: dict[str, str], data: dict[str, Any], named: str
) -> None:
    job = await rig.submit()
    answer = await post(url, binary(job) | headers, data)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.json()["detail"]
    assert pipeline.calls == []


@pytest.mark.parametrize("delivery", ["x", "-1", "9" * 17, "9" * 5000])
async def test_a_delivery_that_is_no_number_of_ours_is_none(rig: Rig, url: str, delivery: str) -> None:
    job = await rig.submit()
    answer = await post(url, binary(job, **{"ce-delivery": delivery}), {"job_id": job.id})
    assert (answer.status_code, answer.headers["ce-type"]) == (200, f"{TYPE_PREFIX}completed")


async def test_no_model_yet_is_503() -> None:
    app = Starlette()
    add_events_route(app, lambda: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/events", json={})
    assert answer.status_code == 503
    assert answer.json()["type"] == "model-not-ready"


async def test_a_reply_whose_connection_is_gone_is_published(rig: Rig, pipeline: Scripted, url: str) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit()
    with pytest.raises(httpx.ReadTimeout):
        await post(url, binary(job), {"job_id": job.id}, patience=0.5)
    pipeline.go_on.set()

    async def published() -> bool:
        return bool(rig.publisher.events)

    await until(published)
    (event,) = rig.publisher.events
    assert (event.type, event.subject) == (f"{TYPE_PREFIX}completed", job.id)
    assert len(pipeline.calls) == 1


async def test_a_lost_connection_does_not_cost_the_others_their_reply(
    rig: Rig, pipeline: Scripted, url: str
) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit()
    patient = asyncio.create_task(post(url, binary(job), {"job_id": job.id}))
    with pytest.raises(httpx.ReadTimeout):
        await post(url, binary(job), {"job_id": job.id}, patience=0.5)
    pipeline.go_on.set()
    assert (await patient).status_code == 200
    assert len(pipeline.calls) == 1
