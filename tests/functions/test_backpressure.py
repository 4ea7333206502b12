"""Too much asked for, or a Redis that takes no writes: a clear answer with a time, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from eventing.codec import encode
from eventing.events import event_for
from jobs.job import Delivery, EventKind, Status
from jobs.settings import Settings
from jobs.store import JobStore
from tests.functions.conftest import BACKLOG_LIMIT, traces
from tests.functions.lives import claimed, given, outcome_with_video
from tests.functions.support import Function, RecordingBroker
from tests.functions.values import SPEC
from tests.servers import free_port

REQUEST = {"prompt": "a fox", "num_frames": 7, "queue": SPEC.queue}


async def retry_after(api: httpx.AsyncClient) -> int:
    answer = await api.post("/jobs", json=REQUEST)
    assert answer.status_code == 429
    return int(answer.headers["retry-after"])


async def test_a_full_backlog_says_when_to_come_back_by_the_measured_rate(
    api: httpx.AsyncClient, store: JobStore, keys: redis.Redis
) -> None:
    for _ in range(1 + BACKLOG_LIMIT):  # one is admitted
        await given(store)
    for seconds in (40, 4000):
        for name in ("measured", f"measured:{SPEC.queue}"):
            keys.hset("pool:mochi-1", name, f"{seconds}000000")
        # There is room once the next one starts: what is in flight is half done on average.
        assert await retry_after(api) == seconds / 2
    keys.hset("pool:mochi-1", "measured", "1" + "0" * 12)
    assert await retry_after(api) == 3600  # a client that comes back now and then learns more
    for _ in range(3):
        assert (await api.post("/jobs", json=REQUEST)).status_code == 429
    assert (await store.stats()).backlog[SPEC.queue] == BACKLOG_LIMIT


async def test_there_is_room_again_once_one_has_ended(api: httpx.AsyncClient, store: JobStore) -> None:
    jobs = [await given(store) for _ in range(1 + BACKLOG_LIMIT)]
    assert (await api.post("/jobs", json=REQUEST)).status_code == 429
    assert (await api.post(f"/jobs/{jobs[-1].id}/cancel")).status_code == 200
    assert (await api.post("/jobs", json=REQUEST)).status_code == 202
    assert await retry_after(api) >= 1


@pytest.fixture(params=["full", "read-only"])
def sick(request: pytest.FixtureRequest, keys: redis.Redis) -> Iterator[Callable[[bool], str]]:
    """Makes Redis refuse writes, or well again, which it is afterwards; says what ails it."""
    server: Any = keys  # most commands have no types

    def ail(ill: bool) -> str:
        server.config_set("maxmemory", "1" if ill and request.param == "full" else "0")
        master = ("127.0.0.1", free_port()) if ill and request.param == "read-only" else ("NO", "ONE")
        server.replicaof(*master)
        return str(request.param)

    yield ail
    ail(False)


async def test_a_redis_that_takes_no_writes_is_503_and_loses_nothing(
    api: httpx.AsyncClient,
    completion: Function,
    reaper: Function,
    store: JobStore,
    settings: Settings,
    keys: redis.Redis,
    broker: RecordingBroker,
    sick: Callable[[bool], str],
) -> None:
    lease = await claimed(store, (await given(store)).id)
    waiting = await given(store)
    outcome = outcome_with_video(lease, settings)
    assert await store.record(lease, outcome)
    ended = event_for(
        Delivery(EventKind.COMPLETED, lease.job.id, SPEC.queue, 1, 1, outcome=outcome), "/mochi/predictor"
    )
    headers, body = encode(ended)
    before = traces(keys)

    illness = sick(True)
    submitted = await api.post("/jobs", json=REQUEST, headers={"idempotency-key": "k"})
    assert submitted.status_code == 503
    assert int(submitted.headers["retry-after"]) >= 1
    assert submitted.json()["type"] == "/problems/store-unavailable"
    assert (await api.get("/healthz")).status_code == 503
    async with httpx.AsyncClient(timeout=30) as of_the_broker:
        # A job that ends makes room, so it may; the Broker keeps all else, and tries again.
        answer = await of_the_broker.post(f"{completion.url}/", headers=headers, content=body)
        assert answer.status_code == (204 if illness == "full" else 503)
        assert (await of_the_broker.post(f"{reaper.url}/")).status_code == 503
        assert len((await api.get("/jobs")).json()["jobs"]) == 2  # reading goes on
        assert (await api.get(f"/jobs/{waiting.id}")).json()["status"] == "pending"
        if illness != "full":
            assert traces(keys) == before

        sick(False)
        assert (
            await of_the_broker.post(f"{completion.url}/", headers=headers, content=body)
        ).status_code == 204
    assert (await store.get(lease.job.id)).status is Status.COMPLETED
    assert broker.wait_for(1)[0].data["job_id"] == waiting.id
    again = await api.post("/jobs", json=REQUEST, headers={"idempotency-key": "k"})
    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers
