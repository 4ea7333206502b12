"""The reaper's round, as the PingSource asks for it every minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis

from jobs.job import Job, Status
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import Idempotency, JobStore, NewJob
from tests.functions.lives import claimed, completed, failed, finish, given, outcome_with_video
from tests.functions.support import Function, RecordingBroker, function
from tests.functions.values import SPEC

#: What a PingSource sends.
PING = {
    "ce-specversion": "1.0",
    "ce-id": "4a2f",
    "ce-source": "/apis/v1/namespaces/video/pingsources/reaper",
    "ce-type": "dev.knative.sources.ping",
    "ce-time": "2026-01-02T03:04:00Z",
}


@pytest.fixture
async def door(
    reaper: Function, broker: RecordingBroker, keys: redis.Redis
) -> AsyncIterator[httpx.AsyncClient]:
    assert keys.dbsize() == 0
    assert not broker.received
    async with httpx.AsyncClient(base_url=reaper.url, timeout=60) as client:
        yield client


async def tick(door: httpx.AsyncClient) -> None:
    answer = await door.post("/", headers=PING)
    assert (answer.status_code, answer.content) == (204, b"")


def make_overdue(keys: redis.Redis) -> None:
    """As if the time in which each credit was due had passed."""
    for key in keys.scan_iter("credits:*"):
        for job, _ in keys.zscan_iter(key):
            keys.zadd(key, {job: 0})


async def tick_until_reaped(door: httpx.AsyncClient, store: JobStore, job_id: str) -> None:
    while (await store.get(job_id)).status is Status.PROCESSING:
        await tick(door)  # until the lease has run out, by Redis' clock


@pytest.fixture
async def hasty(settings: Settings, keys: redis.Redis) -> AsyncIterator[JobStore]:
    """A store whose leases end after a second."""
    assert keys.dbsize() == 0
    store = JobStore.connect(replace(settings, lease_seconds=1))
    yield store
    await store.close()


async def test_nothing_to_do_is_204(door: httpx.AsyncClient, broker: RecordingBroker) -> None:
    await tick(door)
    assert (await door.post("/")).status_code == 204  # a person with curl
    assert not broker.received


async def test_an_event_that_was_never_sent_is_sent(
    door: httpx.AsyncClient, store: JobStore, keys: redis.Redis, broker: RecordingBroker
) -> None:
    job = await given(store)  # and the process dies before it publishes
    await tick(door)
    assert not broker.received  # it is not due yet
    make_overdue(keys)
    await tick(door)
    (event,) = broker.received
    assert (event.type, event.data["job_id"]) == ("requested", job.id)
    await tick(door)
    assert len(broker.received) == 1


async def test_what_the_broker_refuses_is_sent_again(
    door: httpx.AsyncClient, store: JobStore, keys: redis.Redis, broker: RecordingBroker
) -> None:
    await given(store)
    broker.status = 503
    for _ in range(2):
        make_overdue(keys)
        await tick(door)
    broker.status = 202
    make_overdue(keys)
    await tick(door)
    ids = [event.headers["ce-id"] for event in broker.received]
    assert len(ids) == len(set(ids)) == 3


async def test_a_job_whose_predictor_died_goes_to_another(
    door: httpx.AsyncClient, hasty: JobStore, broker: RecordingBroker
) -> None:
    lease = await claimed(hasty, (await given(hasty)).id)
    await tick_until_reaped(door, hasty, lease.job.id)
    job = await hasty.get(lease.job.id)
    assert job.status is Status.PENDING
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("requested", job.id)]
    assert (await claimed(hasty, job.id)).attempt == 2


async def test_a_job_that_kills_three_predictors_fails_with_the_reason(
    door: httpx.AsyncClient, hasty: JobStore, broker: RecordingBroker
) -> None:
    job: Job = await given(hasty)
    for _ in range(3):
        await claimed(hasty, job.id)
        await tick_until_reaped(door, hasty, job.id)
    job = await hasty.get(job.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.message
    assert [e.type for e in broker.received] == ["requested", "requested", "failed"]


async def test_a_result_whose_event_was_lost_is_taken_from_the_record(
    door: httpx.AsyncClient, store: JobStore, settings: Settings, keys: redis.Redis, broker: RecordingBroker
) -> None:
    lease = await claimed(store, (await given(store)).id)
    following = await given(store)
    outcome = outcome_with_video(lease, settings)
    await store.record(lease, outcome)
    make_overdue(keys)
    await tick(door)
    job = await store.get(lease.job.id)
    assert (job.status, job.artifact) == (Status.COMPLETED, outcome.artifact)
    events = {(e.type, e.data["job_id"]) for e in broker.received}
    assert events == {("completed", job.id), ("requested", following.id)}
    await tick(door)
    assert len(broker.received) == 2


async def test_a_waiting_job_whose_deadline_passed_fails(
    door: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    await given(store)
    deadline = (datetime.now(UTC) + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    job = await given(store, replace(SPEC, deadline=deadline))
    while not (await store.get(job.id)).status.terminal:
        await tick(door)
    job = await store.get(job.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error.code == "deadline_exceeded"
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("failed", job.id)]


async def test_a_long_agenda_is_done_in_one_round(
    door: httpx.AsyncClient, settings: Settings, keys: redis.Redis, broker: RecordingBroker
) -> None:
    store = JobStore.connect(replace(settings, pool_limit=150, backlog_limit=200))
    jobs = {(await given(store)).id for _ in range(150)}  # more than the reaper asks for at once
    await store.close()
    make_overdue(keys)
    await tick(door)
    assert {e.data["job_id"] for e in broker.received} == jobs


async def test_books_that_are_wrong_are_mended_and_it_is_an_error(
    reaper: Function, door: httpx.AsyncClient, store: JobStore, keys: redis.Redis
) -> None:
    lease = await claimed(store, (await given(store)).id)
    waiting = await given(store)
    await tick(door)
    assert not [line for line in reaper.lines("books_mended") if line["job"] in (lease.job.id, waiting.id)]
    keys.zrem("backlog:short-low", waiting.id)
    keys.delete("credits:mochi-1")
    await tick(door)
    said = {line["job"]: line for line in reaper.lines("books_mended")}
    assert said[waiting.id]["level"] == said[lease.job.id]["level"] == "error"
    assert (await store.get(waiting.id)).position == 0
    await tick(door)  # the agenda of the job at work is put right, too
    assert (await store.stats()).credits == 1
    assert (await finish(store, lease, failed(lease))).status is Status.FAILED


async def test_a_credit_that_the_books_free_is_given_on(
    door: httpx.AsyncClient, store: JobStore, keys: redis.Redis, broker: RecordingBroker
) -> None:
    gone, waiting = await given(store), await given(store)
    keys.delete(f"job:{gone.id}")
    await tick(door)
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("requested", waiting.id)]


async def test_ended_jobs_and_their_videos_are_removed_together(
    store: JobStore,
    settings: Settings,
    environ: dict[str, str],
    keys: redis.Redis,
    tmp_path: Path,
) -> None:
    storage = S3VideoStorage(settings)
    storage.check()
    new = NewJob("e" * 32, SPEC, 5.0, Idempotency("http:k", "f"))
    await store.submit(new)
    lease = await claimed(store, new.id)
    outcome = outcome_with_video(lease, settings, storage)
    assert outcome.artifact is not None
    storage.put(f"videos/{new.id}/1-of-a-stale-predictor/video.mp4", b"x", "video/mp4")
    storage.put(f"checkpoints/{new.id}/1-{lease.token}/step-4.safetensors", b"x", "application/octet-stream")
    await store.record(lease, outcome)
    await store.complete(new.id, outcome)
    others = [await completed(store, settings, storage) for _ in range(2)]
    waiting = await given(store)
    short = {**environ, "MOCHI_RETENTION": "1s"}

    (tmp_path / "away").mkdir()
    with function("reaper", {**short, "AWS_S3_ENDPOINT": "http://127.0.0.1:9"}, tmp_path / "away") as away:
        async with httpx.AsyncClient(base_url=away.url, timeout=60) as door:
            while not away.lines("removing_stopped"):
                await tick(door)  # until the second has passed
    assert storage.head(outcome.artifact.key)  # the object store was away; nothing is forgotten

    with function("reaper", short, tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as door:
            while len(running.lines("expired")) < 3:
                await tick(door)
    for job_id in (new.id, *(other.id for other in others)):
        assert list(storage.list(f"videos/{job_id}/")) == []
        assert list(storage.list(f"checkpoints/{job_id}/")) == []
        assert not keys.keys(f"*{job_id}*")
    assert [job.id for job in (await store.list_jobs()).jobs] == [waiting.id]
    again = await store.submit(replace(new, id="f" * 32))
    assert again.created  # its idempotency key went with it
