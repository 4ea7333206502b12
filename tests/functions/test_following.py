"""`GET /jobs/{id}/events` over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from jobs.job import Phase
from jobs.settings import Settings
from jobs.store import JobStore
from tests.functions.lives import claimed, completed, failed, finish, given, outcome_with_video

STEPS = 24


@dataclass
class Event:
    """A server-sent event."""

    id: str
    name: str
    data: dict[str, Any]


class Stream:
    """The events of an open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> Event | None:
        """The next event; None: the stream has ended."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line and fields:
                return Event(fields["id"], fields["event"], json.loads(fields["data"]))
            if line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                fields[name] = value
        return None

    async def until(self, **wanted: object) -> Event:
        """The first event whose data has what is wanted."""
        while event := await self.next():
            if wanted.items() <= event.data.items():
                return event
        raise AssertionError(f"the stream ended without {wanted}")

    async def rest(self) -> list[Event]:
        """All until the end."""
        found: list[Event] = []
        while event := await self.next():
            found.append(event)
        return found


@asynccontextmanager
async def following(api: httpx.AsyncClient, job_id: str, after: str | None = None) -> AsyncIterator[Stream]:
    headers = {} if after is None else {"last-event-id": after}
    async with api.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield Stream(answer)


async def test_each_status_and_phase_is_seen_live(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    first, job = await given(store), await given(store)
    async with following(api, job.id) as stream:
        await stream.until(status="pending", phase="waiting")
        await store.cancel(first.id)
        await stream.until(status="pending", phase="starting")
        lease = await claimed(store, job.id)
        await stream.until(status="processing", phase="encoding_prompt", attempt=1)
        await store.renew(lease, Phase.DENOISING, 0)
        await stream.until(phase="denoising")
        await store.renew(lease, Phase.DENOISING, STEPS // 2)
        event = await stream.until(step=STEPS // 2)
        assert (event.name, event.data["steps"], event.data["progress"]) == ("progress", STEPS, 0.5)
        for phase in (Phase.DECODING, Phase.ENCODING, Phase.UPLOADING):
            await store.renew(lease, phase, STEPS)
            event = await stream.until(phase=str(phase))
            assert event.name == "status"
            polled = (await api.get(f"/jobs/{job.id}")).json()
            assert (polled["status"], polled["phase"]) == ("processing", str(phase))
        ended = await finish(store, lease, outcome_with_video(lease, settings))
        last = (await stream.rest())[-1]
    assert last.name == "completed"
    assert last.data == ended.public() == (await api.get(f"/jobs/{job.id}")).json()
    assert last.id == str(ended.version)


async def test_a_watcher_who_comes_late_sees_every_milestone_and_the_end(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    job = await completed(store, settings)
    async with following(api, job.id) as stream:
        events = await stream.rest()
    assert [e.name for e in events][-1] == "completed"
    assert {"pending", "processing", "completed"} == {e.data["status"] for e in events}
    ids = [int(e.id) for e in events]
    assert ids == sorted(set(ids))


async def test_a_stream_resumes_after_the_last_event_that_was_seen(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    job = await completed(store, settings)
    async with following(api, job.id) as stream:
        events = await stream.rest()
    for seen in range(1, len(events)):
        async with following(api, job.id, events[seen - 1].id) as stream:
            assert [e.id for e in await stream.rest()] == [e.id for e in events[seen:]]


async def test_a_live_stream_resumes_without_a_gap(api: httpx.AsyncClient, store: JobStore) -> None:
    lease = await claimed(store, (await given(store)).id)
    await store.renew(lease, Phase.DENOISING, 1)
    async with following(api, lease.job.id) as stream:
        seen = await stream.until(phase="denoising")
    await store.renew(lease, Phase.DECODING, STEPS)  # while nobody watches
    async with following(api, lease.job.id, seen.id) as stream:
        assert (await stream.until(phase="decoding")).name == "status"
        await finish(store, lease, failed(lease))
        last = (await stream.rest())[-1]
    assert last.name == "failed"
    assert last.data["error"] == {"code": "out_of_memory", "message": "too large for this GPU"}


async def test_who_has_seen_the_end_is_told_not_to_come_back(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    job = await completed(store, settings)
    answer = await api.get(f"/jobs/{job.id}/events", headers={"last-event-id": str(job.version)})
    assert answer.status_code == 204


async def test_an_id_from_the_future_tells_everything_again(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    job = await completed(store, settings)
    async with following(api, job.id, str(job.version + 1000)) as stream:
        assert [e.name for e in await stream.rest()][-1] == "completed"


async def test_a_cancelled_job_ends_its_streams(api: httpx.AsyncClient, store: JobStore) -> None:
    job = await given(store)
    async with following(api, job.id) as one, following(api, job.id) as other:
        await one.until(status="pending")
        await api.post(f"/jobs/{job.id}/cancel")
        for stream in (one, other):
            assert (await stream.rest())[-1].name == "cancelled"


async def test_an_unknown_job_is_no_stream(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"/jobs/{'0' * 32}/events")
    assert answer.status_code == 404


@pytest.mark.parametrize("after", ["abc", "-1", "1.5", "9" * 30])
async def test_a_made_up_id_names_its_header(api: httpx.AsyncClient, store: JobStore, after: str) -> None:
    job = await given(store)
    answer = await api.get(f"/jobs/{job.id}/events", headers={"last-event-id": after})
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["Last-Event-ID"]
