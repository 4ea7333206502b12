"""`POST /jobs` and what is read of a job afterwards."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import redis

from functions.bodies import BODY_LIMIT
from jobs.profile import shipped_profile
from jobs.store import JobStore
from tests.functions import documented
from tests.functions.conftest import BACKLOG_LIMIT, traces
from tests.functions.support import RecordingBroker, function

REQUEST = {"prompt": "a red circle moving right", "num_frames": 7, "quality": "low"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_job_is_recorded_answered_and_published(
    api: httpx.AsyncClient, broker: RecordingBroker
) -> None:
    answer = await api.post("/jobs", json=REQUEST, headers={"traceparent": TRACE})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{job['job_id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert "idempotent-replayed" not in answer.headers
    assert (job["status"], job["phase"], job["queue"]) == ("pending", "starting", "short-low")
    (event,) = broker.received  # before the answer: nothing is waited for
    assert event.type == "requested"
    assert event.data["job_id"] == job["job_id"]
    assert event.headers["ce-subject"] == job["job_id"]
    assert event.headers["ce-queue"] == "short-low"
    assert event.headers["ce-traceparent"] == TRACE


async def test_defaults_come_from_the_model_and_the_seed_is_drawn(api: httpx.AsyncClient) -> None:
    first, second = [(await api.post("/jobs", json={"prompt": " a fox "})).json() for _ in range(2)]
    request = first["request"]
    assert request["prompt"] == "a fox"
    assert (request["width"], request["height"], request["num_frames"]) == (848, 480, 85)
    assert (request["num_inference_steps"], request["fps"], request["guidance_scale"]) == (64, 30, 4.5)
    assert first["queue"] == "long-high"  # by the estimate
    assert 0 <= request["seed"] <= 2**53 - 1
    assert request["seed"] != second["request"]["seed"]


async def test_everything_asked_for_is_kept(api: httpx.AsyncClient) -> None:
    asked = {
        "prompt": "Zürich — 日本 🎥\nsecond line",
        "negative_prompt": "blurry",
        "width": 128,
        "height": 64,
        "num_frames": 13,
        "num_inference_steps": 2,
        "guidance_scale": 7,
        "seed": 2**53 - 1,
        "queue": "long-high",
        "deadline": "2099-01-01T00:00:00+02:00",
    }
    job = (await api.post("/jobs", json=asked)).json()
    assert job["request"] == asked | {"fps": 30, "deadline": "2098-12-31T22:00:00Z"}
    assert job["queue"] == "long-high"


async def test_a_duration_is_rounded_to_frames(api: httpx.AsyncClient) -> None:
    job = (await api.post("/jobs", json={"prompt": "a fox", "duration_seconds": 2})).json()
    assert job["request"]["num_frames"] == 61


async def test_the_location_shows_the_job_and_its_place(api: httpx.AsyncClient) -> None:
    answers = [await api.post("/jobs", json=REQUEST) for _ in range(3)]
    shown = [(await api.get(a.headers["location"])).json() for a in answers]
    assert [job["phase"] for job in shown] == ["starting", "waiting", "waiting"]
    assert [job["position"] for job in shown[1:]] == [0, 1]
    assert [job["job_id"] for job in shown] == [a.json()["job_id"] for a in answers]
    for job in shown:
        assert datetime.fromisoformat(job["created_at"]).tzinfo is not None
        assert job["milestones"][0]["status"] == "pending"


async def test_only_an_admitted_job_is_published(api: httpx.AsyncClient, broker: RecordingBroker) -> None:
    jobs = [(await api.post("/jobs", json=REQUEST)).json() for _ in range(3)]
    assert [event.data["job_id"] for event in broker.received] == [jobs[0]["job_id"]]


async def test_an_invalid_trace_is_replaced_by_a_new_one(
    api: httpx.AsyncClient, broker: RecordingBroker
) -> None:
    await api.post("/jobs", json=REQUEST, headers={"traceparent": "nonsense"})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", broker.received[0].headers["ce-traceparent"])


async def test_a_body_of_the_limit_is_taken(api: httpx.AsyncClient) -> None:
    body = json.dumps(REQUEST).ljust(BODY_LIMIT)
    answer = await api.post("/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 202


async def test_a_full_backlog_is_429_with_a_time_to_come_back(
    api: httpx.AsyncClient, keys: redis.Redis
) -> None:
    for _ in range(1 + BACKLOG_LIMIT):  # one is admitted
        assert (await api.post("/jobs", json=REQUEST)).status_code == 202
    before = traces(keys)
    answer = await api.post("/jobs", json=REQUEST, headers={"idempotency-key": "late"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] == "/problems/backlog-full"
    assert traces(keys) == before
    other = await api.post("/jobs", json=REQUEST | {"queue": "long-high"})
    assert other.status_code == 202


@pytest.mark.usefixtures("untouched")
async def test_a_deadline_that_has_passed_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post("/jobs", json=REQUEST | {"deadline": "2001-01-01T00:00:00Z"})
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["deadline"]


async def test_an_unknown_job_and_what_is_no_id_are_404(api: httpx.AsyncClient) -> None:
    for job_id in ("0" * 32, "abc", "0" * 31 + "G", "x" * 3000, "%00", "..%2Fadmin"):
        answer = await api.get(f"/jobs/{job_id}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_profile_of_the_deployed_model_counts(
    environ: dict[str, str], store: JobStore, tmp_path: Path
) -> None:
    tiny = shipped_profile("tiny-mochi")
    assert tiny is not None
    with function("submit", {**environ, "MODEL_NAME": "acme/unheard-of"}, tmp_path) as running:
        async with await documented.client(running.url) as api:
            early = await api.post("/jobs", json=REQUEST)
            assert early.status_code == 503
            assert early.json()["type"] == "/problems/profile-unknown"
            await store.save_profile(tiny)  # the first predictor is up
            too_large = await api.post("/jobs", json=REQUEST | {"width": 848})
            assert [e["allowed"] for e in too_large.json()["errors"]] == ["multiples of 16 from 32 to 64"]
            job = (await api.post("/jobs", json={"prompt": "a fox"})).json()
            assert (job["request"]["width"], job["request"]["num_frames"]) == (64, 61)
