"""Completion as the Broker calls it: what it answers decides whether an event comes again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from eventing.codec import encode
from eventing.events import Event, event_for
from jobs.job import Delivery, EventKind, Outcome, ResultKind, Status
from jobs.settings import Settings
from jobs.store import JobStore, Lease
from tests.functions.lives import claimed, failed, given, outcome_with_video
from tests.functions.support import Function, RecordingBroker

SOURCE = "/mochi/inference-service/test"


@pytest.fixture
async def door(completion: Function, broker: RecordingBroker) -> AsyncIterator[httpx.AsyncClient]:
    assert not broker.received
    async with httpx.AsyncClient(base_url=completion.url, timeout=30) as client:
        yield client


@pytest.fixture
async def lease(store: JobStore) -> Lease:
    return await claimed(store, (await given(store)).id)


async def sent(door: httpx.AsyncClient, event: Event) -> httpx.Response:
    headers, body = encode(event)
    answer = await door.post("/", content=body, headers=headers)
    assert answer.is_error or (answer.status_code, answer.content) == (204, b"")
    return answer


async def recorded(store: JobStore, lease: Lease, outcome: Outcome) -> Event:
    delivery = await store.record(lease, outcome)
    assert delivery is not None
    return event_for(delivery, SOURCE)


async def test_a_completed_job_is_recorded_and_the_next_one_admitted(
    door: httpx.AsyncClient, store: JobStore, settings: Settings, lease: Lease, broker: RecordingBroker
) -> None:
    following = await given(store)
    outcome = outcome_with_video(lease, settings)
    answer = await sent(door, await recorded(store, lease, outcome))
    assert answer.status_code == 204
    job = await store.get(lease.job.id)
    assert (job.status, job.artifact) == (Status.COMPLETED, outcome.artifact)
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("requested", following.id)]


async def test_a_failed_job_keeps_its_reason(door: httpx.AsyncClient, store: JobStore, lease: Lease) -> None:
    outcome = failed(lease)
    await sent(door, await recorded(store, lease, outcome))
    job = await store.get(lease.job.id)
    assert (job.status, job.error) == (Status.FAILED, outcome.error)


async def test_a_cancelled_job(door: httpx.AsyncClient, store: JobStore, lease: Lease) -> None:
    await store.cancel(lease.job.id)
    await sent(door, await recorded(store, lease, Outcome(ResultKind.CANCELLED, lease.token)))
    assert (await store.get(lease.job.id)).status is Status.CANCELLED


async def test_the_same_event_twice_changes_nothing_more(
    door: httpx.AsyncClient, store: JobStore, settings: Settings, lease: Lease, broker: RecordingBroker
) -> None:
    following = [await given(store) for _ in range(2)]
    event = await recorded(store, lease, outcome_with_video(lease, settings))
    for _ in range(3):
        assert (await sent(door, event)).status_code == 204
    assert [e.data["job_id"] for e in broker.received] == [following[0].id]
    assert (await store.stats()).credits == 1


async def test_the_event_of_a_stale_lease_is_taken_and_changes_nothing(
    door: httpx.AsyncClient, store: JobStore, settings: Settings, lease: Lease
) -> None:
    stale = outcome_with_video(lease, settings)
    stale = Outcome(ResultKind.COMPLETED, "another-token", stale.artifact)
    delivery = Delivery(EventKind.COMPLETED, lease.job.id, lease.job.queue, 1, 1, outcome=stale)
    assert (await sent(door, event_for(delivery, SOURCE))).status_code == 204
    assert (await store.get(lease.job.id)).status is Status.PROCESSING


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("job_id", ["0" * 32, "no-id-of-ours", "../../etc"])
async def test_an_unknown_job_is_204(door: httpx.AsyncClient, completion: Function, job_id: str) -> None:
    outcome = Outcome(ResultKind.CANCELLED)
    delivery = Delivery(EventKind.CANCELLED, job_id, "short-low", 1, 1, outcome=outcome)
    assert (await sent(door, event_for(delivery, SOURCE))).status_code == 204
    assert completion.lines("unknown_job")[-1]["job"] == job_id


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("word", ["requested", "continued", "submitted", "accepted", "something"])
async def test_another_type_is_204(door: httpx.AsyncClient, word: str) -> None:
    event = Event(f"dev.mochi.generation.{word}", SOURCE, "1", "0" * 32, None, {"job_id": "0" * 32})
    assert (await sent(door, event)).status_code == 204


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("completed", {"job_id": "0" * 32}, "data.video"),
        ("failed", {"job_id": "0" * 32}, "data.error"),
        ("cancelled", {}, "data.job_id"),
        ("cancelled", {"job_id": 7}, "data.job_id"),
    ],
)
async def test_what_can_never_work_is_400_and_says_why(
    door: httpx.AsyncClient, kind: str, data: dict[str, object], field: str
) -> None:
    answer = await sent(door, Event(f"dev.mochi.generation.{kind}", SOURCE, "1", "s", None, data))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert [e["field"] for e in answer.json()["errors"]] == [field]


@pytest.mark.usefixtures("untouched")
async def test_what_is_no_event_is_400(door: httpx.AsyncClient) -> None:
    answer = await door.post("/", json={"job_id": "0" * 32})
    assert answer.status_code == 400
    assert {"specversion", "id", "source", "type"} <= {e["field"] for e in answer.json()["errors"]}


async def test_a_broker_that_refuses_harms_no_record(
    door: httpx.AsyncClient, store: JobStore, settings: Settings, lease: Lease, broker: RecordingBroker
) -> None:
    following = await given(store)
    broker.status = 500
    event = await recorded(store, lease, outcome_with_video(lease, settings))
    assert (await sent(door, event)).status_code == 204
    assert (await store.get(lease.job.id)).status is Status.COMPLETED
    assert (await store.get(following.id)).phase == "starting"  # due again soon; the reaper publishes it


async def test_the_functions_behind_triggers_have_health_and_problems(
    completion: Function, reaper: Function
) -> None:
    async with httpx.AsyncClient() as client:
        for url in (completion.url, reaper.url):
            for path in ("/healthz", "/livez"):
                assert (await client.get(url + path)).json() == {"status": "ok"}
                assert (await client.head(url + path)).status_code == 200
            wrong = await client.get(url + "/")
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
            missing = await client.post(url + "/nowhere")
            assert missing.headers["content-type"] == "application/problem+json"
            assert (await client.post(url + "/", content=bytes(2_000_000))).status_code == 413
