"""The same thing asked twice is one job, at both doors."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from jobs.settings import Settings
from jobs.store import JobStore
from tests.functions.lives import claimed, finish, outcome_with_video
from tests.functions.support import RecordingBroker

REQUEST = {"prompt": "a red circle moving right", "num_frames": 7}
EVENT = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/test",
    "ce-type": "boson.fn",
    "content-type": "application/json",
}


async def jobs_there_are(api: httpx.AsyncClient) -> int:
    return len((await api.get("/jobs")).json()["jobs"])


async def test_the_same_key_and_request_are_one_job(api: httpx.AsyncClient, broker: RecordingBroker) -> None:
    key = {"idempotency-key": "order-7"}
    first = await api.post("/jobs", json=REQUEST, headers=key)
    again = await api.post("/jobs", json=REQUEST, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert again.json()["request"]["seed"] == first.json()["request"]["seed"]
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert await jobs_there_are(api) == 1
    assert len(broker.received) == 1


async def test_what_is_the_same_after_validation_is_the_same_request(api: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "k"}
    first = await api.post("/jobs", json=REQUEST, headers=key)
    again = await api.post("/jobs", json={"num_frames": 7, "prompt": f" {REQUEST['prompt']} "}, headers=key)
    assert again.json()["job_id"] == first.json()["job_id"]


@pytest.mark.parametrize(
    "other", [{"prompt": "a blue circle"}, REQUEST | {"seed": 1}, REQUEST | {"width": 848}], ids=str
)
async def test_another_request_under_the_key_is_refused(
    api: httpx.AsyncClient, other: dict[str, object]
) -> None:
    key = {"idempotency-key": "k"}
    first = await api.post("/jobs", json=REQUEST, headers=key)
    answer = await api.post("/jobs", json=other, headers=key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"
    assert answer.json()["job_id"] == first.json()["job_id"]
    assert await jobs_there_are(api) == 1


async def test_a_key_of_full_length_and_another_beside_it(api: httpx.AsyncClient) -> None:
    keys = ["~" * 255, "~" * 254 + "!"]
    jobs = [(await api.post("/jobs", json=REQUEST, headers={"idempotency-key": k})).json() for k in keys]
    assert jobs[0]["job_id"] != jobs[1]["job_id"]


async def test_a_key_is_kept_after_its_job_has_ended(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    key = {"idempotency-key": "k"}
    job_id = (await api.post("/jobs", json=REQUEST, headers=key)).json()["job_id"]
    lease = await claimed(store, job_id)
    await finish(store, lease, outcome_with_video(lease, settings))
    again = (await api.post("/jobs", json=REQUEST, headers=key)).json()
    assert (again["job_id"], again["status"]) == (job_id, "completed")


async def test_ten_at_once_under_one_key_are_one_job(api: httpx.AsyncClient, broker: RecordingBroker) -> None:
    key = {"idempotency-key": "k"}
    answers = await asyncio.gather(*(api.post("/jobs", json=REQUEST, headers=key) for _ in range(10)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["job_id"] for a in answers}) == 1
    assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
    assert len(broker.received) == 1


async def test_the_same_event_twice_is_one_job_and_one_answer(
    api: httpx.AsyncClient, broker: RecordingBroker
) -> None:
    first = await api.post("/", json=REQUEST, headers=EVENT)
    again = await api.post("/", json=REQUEST, headers=EVENT)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert again.headers["ce-id"] == first.headers["ce-id"]
    assert again.headers["ce-time"] == first.headers["ce-time"]
    assert await jobs_there_are(api) == 1
    assert len(broker.received) == 1


async def test_the_same_event_with_other_data_is_the_same_job(api: httpx.AsyncClient) -> None:
    first = await api.post("/", json=REQUEST, headers=EVENT)
    again = await api.post("/", json={"prompt": "a blue circle"}, headers=EVENT)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert again.json()["request"]["prompt"] == REQUEST["prompt"]


async def test_the_same_event_with_data_that_is_wrong_now_is_the_same_job(api: httpx.AsyncClient) -> None:
    first = await api.post("/", json=REQUEST, headers=EVENT)
    for data in ({"prompt": ""}, {"prompt": "a fox", "width": -1}, {"size": "huge"}):
        again = await api.post("/", json=data, headers=EVENT)
        assert (again.status_code, again.headers["ce-id"]) == (202, first.headers["ce-id"])
        assert again.json()["job_id"] == first.json()["job_id"]
        new = await api.post("/", json=data, headers=EVENT | {"ce-id": "2"})
        assert new.status_code in (400, 422)
    assert await jobs_there_are(api) == 1


async def test_a_key_helps_no_request_that_is_wrong(api: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "k"}
    await api.post("/jobs", json=REQUEST, headers=key)
    assert (await api.post("/jobs", json={"prompt": ""}, headers=key)).status_code in (400, 422)


@pytest.mark.parametrize("other", [{"ce-id": "2"}, {"ce-source": "/other"}], ids=["id", "source"])
async def test_another_id_or_source_is_another_event(api: httpx.AsyncClient, other: dict[str, str]) -> None:
    first = await api.post("/", json=REQUEST, headers=EVENT)
    second = await api.post("/", json=REQUEST, headers=EVENT | other)
    assert second.json()["job_id"] != first.json()["job_id"]


async def test_a_key_and_an_event_do_not_meet(api: httpx.AsyncClient) -> None:
    event = await api.post("/", json=REQUEST, headers=EVENT)
    job = await api.post("/jobs", json=REQUEST, headers={"idempotency-key": "/test"})
    assert job.json()["job_id"] != event.json()["job_id"]
