"""Redis or the Broker away: a clear answer, nothing lost, and back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from eventing.codec import encode
from eventing.events import Event
from jobs.store import JobStore
from tests.functions import documented
from tests.functions.support import Function, RecordingBroker, function
from tests.servers import free_port, redis_server

REQUEST = {"prompt": "a fox", "num_frames": 7}
EVENT = Event("dev.mochi.generation.cancelled", "/t", "1", "", None, {"job_id": "0" * 32})


class Redis:
    """A Redis of the test's own, which it starts and stops."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._stack = ExitStack()

    def start(self) -> str:
        return self._stack.enter_context(redis_server(self._folder, self.port, appendonly=True))

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def own_redis(folder: Path) -> Iterator[Redis]:
    folder.mkdir()
    server = Redis(folder)
    try:
        yield server
    finally:
        server.stop()


async def test_redis_away_is_503_and_what_was_recorded_is_there_afterwards(
    environ: dict[str, str], broker: RecordingBroker, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(own_redis(tmp_path / "redis"))
        environ = {**environ, "REDIS_URL": server.start()}
        submit, completion, reaper = [
            stack.enter_context(function(name, environ, tmp_path))
            for name in ("submit", "completion", "reaper")
        ]
        api = await stack.enter_async_context(await documented.client(submit.url))
        job = (await api.post("/jobs", json=REQUEST)).json()
        watching = api.stream("GET", f"/jobs/{job['job_id']}/events")
        lines = (await stack.enter_async_context(watching)).aiter_lines()
        assert (await anext(lines)).startswith("event: ")

        server.stop()
        await _all_answer_503(api, job["job_id"])
        await _all_but_liveness_fails(api, completion, reaper)
        seen = [line async for line in lines if line.startswith("id: ")][-1]  # the stream was cut

        server.start()
        assert (await api.get("/healthz")).status_code == 200
        assert (await api.get(f"/jobs/{job['job_id']}")).json()["request"] == job["request"]
        assert (await api.post("/jobs", json=REQUEST)).status_code == 202
        assert [answer.status_code for answer in await _of_the_broker(completion, reaper)] == [204, 204]
        assert (await api.post(f"/jobs/{job['job_id']}/cancel")).status_code == 200
        again = {"last-event-id": seen.removeprefix("id: ")}
        rest = await api.get(f"/jobs/{job['job_id']}/events", headers=again)
        names = [line for line in rest.text.splitlines() if line.startswith("event: ")]
        assert names == ["event: cancelled"]
    assert broker.received[0].data["job_id"] == job["job_id"]


async def _all_answer_503(api: httpx.AsyncClient, job_id: str) -> None:
    for method, path in (
        ("POST", "/jobs"),
        ("GET", "/jobs"),
        ("GET", f"/jobs/{job_id}"),
        ("POST", f"/jobs/{job_id}/cancel"),
        ("GET", f"/jobs/{job_id}/events"),
        ("GET", f"/jobs/{job_id}/result"),
        ("GET", f"/download/{job_id}"),
        ("GET", "/healthz"),
    ):
        answer = await api.request(
            method, path, json=REQUEST if path == "/jobs" and method == "POST" else None
        )
        assert answer.status_code == 503, (method, path)
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == "/problems/store-unavailable"
        assert "of-a-test" not in answer.text  # the password of Redis


async def _all_but_liveness_fails(api: httpx.AsyncClient, completion: Function, reaper: Function) -> None:
    assert (await api.get("/livez")).status_code == 200
    metrics = await api.get("/metrics")
    assert "mochi_store_up 0.0" in metrics.text
    async with httpx.AsyncClient() as client:
        health = [await client.get(f"{function.url}/healthz") for function in (completion, reaper)]
    for answer in health + await _of_the_broker(completion, reaper):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"


async def _of_the_broker(completion: Function, reaper: Function) -> list[httpx.Response]:
    headers, body = encode(EVENT)
    async with httpx.AsyncClient(timeout=30) as client:
        return [
            await client.post(f"{completion.url}/", headers=headers, content=body),
            await client.post(f"{reaper.url}/"),
        ]


@pytest.mark.parametrize("status", [500, 404], ids=str)
async def test_a_broker_that_refuses_loses_no_job(
    api: httpx.AsyncClient, store: JobStore, broker: RecordingBroker, status: int
) -> None:
    broker.status = status
    answer = await api.post("/jobs", json=REQUEST)
    assert answer.status_code == 202
    job = await store.get(answer.json()["job_id"])
    assert job.phase == "starting"
    assert (await store.stats()).credits == 1


async def test_without_a_broker_jobs_are_taken_all_the_same(
    environ: dict[str, str], store: JobStore, tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    with function("submit", {**environ, "K_SINK": nobody}, tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url) as client:
            answer = await client.post("/jobs", json=REQUEST)
            assert answer.status_code == 202
            assert (await store.get(answer.json()["job_id"])).status == "pending"
        assert running.lines("publish_failed")
