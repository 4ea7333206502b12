"""`POST /jobs/{id}/cancel` in each status."""

from __future__ import annotations

import httpx

from jobs.job import Phase
from jobs.settings import Settings
from jobs.store import JobStore, Renewal
from tests.functions.lives import claimed, completed, failed, finish, given, outcome_with_video
from tests.functions.support import RecordingBroker


async def test_a_waiting_job_is_cancelled_at_once(
    api: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    await given(store)
    waiting = await given(store)
    answer = await api.post(f"/jobs/{waiting.id}/cancel")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["phase"]) == ("cancelled", None)
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("cancelled", waiting.id)]
    assert (await api.get(f"/jobs/{waiting.id}")).json() == answer.json()


async def test_a_starting_job_is_cancelled_and_the_next_one_admitted(
    api: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    starting, waiting = await given(store), await given(store)
    answer = await api.post(f"/jobs/{starting.id}/cancel")
    assert answer.json()["status"] == "cancelled"
    events = {(e.type, e.data["job_id"]) for e in broker.received}
    assert events == {("cancelled", starting.id), ("requested", waiting.id)}


async def test_a_job_at_work_is_told_and_says_so(api: httpx.AsyncClient, store: JobStore) -> None:
    lease = await claimed(store, (await given(store)).id)
    answer = await api.post(f"/jobs/{lease.job.id}/cancel")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["cancel_requested"]) == ("processing", True)
    assert await store.renew(lease, Phase.DENOISING, 1) is Renewal.CANCEL
    assert (await api.post(f"/jobs/{lease.job.id}/cancel")).status_code == 202


async def test_cancelling_twice_is_no_error_and_tells_nobody_twice(
    api: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    job = await given(store)
    answers = [await api.post(f"/jobs/{job.id}/cancel") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert [e.type for e in broker.received] == ["cancelled"]


async def test_a_job_that_has_ended_stays_as_it_is(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    done = await completed(store, settings)
    lease = await claimed(store, (await given(store)).id)
    broken = await finish(store, lease, failed(lease))
    for job in (done, broken):
        answer = await api.post(f"/jobs/{job.id}/cancel")
        assert answer.status_code == 409
        assert answer.json()["job_status"] == job.status
        assert (await api.get(f"/jobs/{job.id}")).json()["status"] == job.status


async def test_a_recorded_result_wins(api: httpx.AsyncClient, store: JobStore, settings: Settings) -> None:
    lease = await claimed(store, (await given(store)).id)
    await store.record(lease, outcome_with_video(lease, settings))
    answer = await api.post(f"/jobs/{lease.job.id}/cancel")
    assert answer.status_code == 409
    assert answer.json()["job_status"] == "processing"


async def test_an_unknown_job(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"/jobs/{'0' * 32}/cancel")
    assert answer.status_code == 404
    assert answer.json()["job_id"] == "0" * 32
