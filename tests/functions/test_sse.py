from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from functions.submit.models import Change as ChangeModel
from functions.submit.sse import event_stream, last_event_id
from jobs.errors import InvalidRequest, StoreUnavailable
from jobs.job import Change
from tests.functions.values import AT_WORK, COMPLETED, FAILED, WAITING, change


class Changes:
    """Gives the changes out, then waits for ever or fails; knows whether it was closed."""

    def __init__(self, *changes: Change, error: Exception | None = None, ends: bool = True) -> None:
        self.changes = changes
        self.error = error
        self.ends = ends
        self.closed = asyncio.Event()

    async def follow(self) -> AsyncGenerator[Change, None]:
        try:
            for one in self.changes:
                yield one
            if self.error:
                raise self.error
            if not self.ends:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


def parsed(event: bytes) -> dict[str, str]:
    lines = event.decode().removesuffix("\n\n").split("\n")
    return dict(line.split(": ", 1) for line in lines)


async def test_names_ids_and_data() -> None:
    changes = Changes(change(WAITING), change(AT_WORK, 4), change(AT_WORK), change(COMPLETED))
    events = [parsed(e) async for e in event_stream(changes.follow(), 60)]
    assert [(e["event"], e["id"]) for e in events] == [
        ("status", "1"),
        ("status", "4"),
        ("progress", "5"),
        ("completed", "9"),
    ]
    assert json.loads(events[2]["data"]) == {
        "job_id": AT_WORK.id,
        "status": "processing",
        "phase": "denoising",
        "attempt": 1,
        "step": 6,
        "steps": 24,
        "progress": 0.25,
        "at": "2026-01-02T03:04:05.000006Z",
    }
    for event in events[:3]:
        ChangeModel.model_validate_json(event["data"], strict=True)
    assert json.loads(events[3]["data"]) == COMPLETED.public()


async def test_a_failed_job_ends_the_stream_with_its_reason() -> None:
    (event,) = [parsed(e) async for e in event_stream(Changes(change(FAILED)).follow(), 60)]
    assert event["event"] == "failed"
    assert json.loads(event["data"])["error"] == {"code": "out_of_memory", "message": "too large"}


async def test_a_quiet_stream_is_kept_open_by_comments_and_loses_nothing() -> None:
    started = asyncio.Event()

    async def slow() -> AsyncGenerator[Change, None]:
        await started.wait()
        yield change(COMPLETED)

    stream = event_stream(slow(), 0.01)
    assert (await anext(stream)).startswith(b": ")
    assert (await anext(stream)).startswith(b": ")
    started.set()
    rest = [e async for e in stream if not e.startswith(b": ")]
    assert [parsed(e)["event"] for e in rest] == ["completed"]


async def test_closing_the_stream_stops_the_following() -> None:
    changes = Changes(change(WAITING), ends=False)
    stream = event_stream(changes.follow(), 60)
    await anext(stream)
    await stream.aclose()
    assert changes.closed.is_set()


async def test_a_cancelled_stream_stops_the_following() -> None:
    changes = Changes(change(WAITING), ends=False)
    seen = asyncio.Event()

    async def watch() -> None:
        async for _ in event_stream(changes.follow(), 60):
            seen.set()

    watcher = asyncio.create_task(watch())
    await seen.wait()
    watcher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watcher
    await asyncio.wait_for(changes.closed.wait(), 5)


async def test_an_outage_ends_the_stream_so_that_the_client_comes_back() -> None:
    changes = Changes(change(WAITING), error=StoreUnavailable("Redis is away"))
    events = [e async for e in event_stream(changes.follow(), 60)]
    assert len(events) == 1
    assert changes.closed.is_set()


@pytest.mark.parametrize(("header", "after"), [(None, 0), ("", 0), ("0", 0), ("7", 7), (" 12 ", 12)])
def test_last_event_id(header: str | None, after: int) -> None:
    assert last_event_id(header) == after


@pytest.mark.parametrize("header", ["-1", "abc", "1.5", "²", "9" * 16, "1" * 5000])
def test_what_is_no_id_names_the_header(header: str) -> None:
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        last_event_id(header)
