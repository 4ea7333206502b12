"""What the Broker gave up on, with the extensions that Knative adds."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import redis

from eventing.codec import encode
from eventing.events import Event, event_for
from functions.reaper.dead_letters import reason_of, status_code_of
from jobs.job import Delivery, EventKind, Job, JobError, Outcome, ResultKind, Status
from jobs.store import JobStore, NewJob
from tests.functions.conftest import traces
from tests.functions.lives import claimed, given
from tests.functions.support import Function, RecordingBroker
from tests.functions.values import SPEC

SOURCE = "/mochi/submit"
REASON = "the model cannot do 163 frames"


@pytest.fixture
async def door(reaper: Function, broker: RecordingBroker) -> AsyncIterator[httpx.AsyncClient]:
    assert not broker.received
    async with httpx.AsyncClient(base_url=reaper.url, timeout=30) as client:
        yield client


def dead(event: Event, code: str, answered: bytes) -> Event:
    """The event as the dead letter sink gets it."""
    extensions = {
        **event.extensions,
        "knativeerrordest": "http://mochi-1.video.svc.cluster.local/events",
        "knativeerrorcode": code,
        "knativeerrordata": b64encode(answered).decode()[:1024],
    }
    return replace(event, extensions=extensions)


async def letter(door: httpx.AsyncClient, job: Job, code: str, delivery: int | None = None) -> httpx.Response:
    event = event_for(
        Delivery(EventKind.REQUESTED, job.id, job.queue, delivery or job.delivery, job.attempt), SOURCE
    )
    answered = json.dumps({"title": "No", "detail": REASON}).encode()
    return await posted(door, dead(event, code, answered))


async def posted(door: httpx.AsyncClient, event: Event) -> httpx.Response:
    headers, body = encode(event)
    answer = await door.post("/dead-letters", content=body, headers=headers)
    assert answer.is_error or (answer.status_code, answer.content) == (204, b"")
    return answer


async def test_a_job_that_nobody_could_take_waits_again_and_its_pool_pauses(
    door: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    job, following = await given(store), await given(store)
    assert (await letter(door, await store.get(job.id), "503")).status_code == 204
    stats = await store.stats()
    assert stats.credits == 0
    assert stats.paused_seconds > 0
    waiting = await store.get(job.id)
    assert (waiting.status, waiting.phase, waiting.position) == (Status.PENDING, "waiting", 0)
    assert (await store.get(following.id)).position == 1  # it comes back before those that came after it
    assert not broker.received  # the next one would fall into the same hole


async def test_a_job_that_is_refused_three_times_fails_with_the_reason(
    door: httpx.AsyncClient, store: JobStore, keys: redis.Redis, broker: RecordingBroker
) -> None:
    job = await given(store)
    for refusals in (1, 2, 3):
        assert (await letter(door, await store.get(job.id), "400")).status_code == 204
        if refusals < 3:
            assert (await store.get(job.id)).status is Status.PENDING
            for key in keys.scan_iter("delayed:*"):  # as if its time had come
                keys.zadd(key, {job.id: 0})
            await store.tick()
    job = await store.get(job.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert REASON in job.error.message
    assert (broker.received[-1].type, broker.received[-1].data["job_id"]) == ("failed", job.id)


async def test_another_job_is_admitted_while_a_refused_one_is_delayed(
    door: httpx.AsyncClient, store: JobStore, broker: RecordingBroker
) -> None:
    job, following = await given(store), await given(store)
    await letter(door, await store.get(job.id), "422")
    assert [(e.type, e.data["job_id"]) for e in broker.received] == [("requested", following.id)]


async def test_a_letter_about_a_delivery_before_the_last_means_nothing(
    door: httpx.AsyncClient, store: JobStore
) -> None:
    job = await given(store)
    assert (await letter(door, job, "503", delivery=1)).status_code == 204
    assert (await store.stats()).credits == 1


async def test_a_letter_about_a_job_at_work_means_nothing(door: httpx.AsyncClient, store: JobStore) -> None:
    lease = await claimed(store, (await given(store)).id)
    assert (await letter(door, await store.get(lease.job.id), "504")).status_code == 204
    assert (await store.get(lease.job.id)).status is Status.PROCESSING


async def test_a_letter_about_an_unknown_job_is_taken(
    door: httpx.AsyncClient, keys: redis.Redis, store: JobStore
) -> None:
    await store.submit(NewJob("a" * 32, SPEC, 5.0))
    job = await store.get("a" * 32)
    keys.flushdb()
    assert (await letter(door, job, "503")).status_code == 204
    assert traces(keys) == set()


async def test_what_asks_for_no_gpu_is_only_logged(door: httpx.AsyncClient, reaper: Function) -> None:
    outcome = Outcome(ResultKind.FAILED, "t", error=JobError("c", "m"))
    event = event_for(Delivery(EventKind.FAILED, "b" * 32, "short-low", 7, 1, outcome=outcome), SOURCE)
    assert (await posted(door, dead(event, "503", b""))).status_code == 204
    line = reaper.lines("dead_letter_ignored")[-1]
    assert (line["job"], line["code"], line["type"]) == ("b" * 32, 503, "dev.mochi.generation.failed")


@pytest.mark.parametrize("delivery", ["", "-1", "x", "²", "9" * 17, "9" * 5000])
async def test_a_delivery_that_is_no_number_of_ours_is_only_logged(
    door: httpx.AsyncClient, reaper: Function, store: JobStore, delivery: str
) -> None:
    event = event_for(Delivery(EventKind.REQUESTED, (await given(store)).id, "short-low", 1, 1), SOURCE)
    event = replace(event, extensions={**event.extensions, "delivery": delivery})
    assert (await posted(door, dead(event, "503", b""))).status_code == 204
    assert reaper.lines("dead_letter_ignored")[-1]["job"] == event.subject


async def test_what_is_no_event_is_400(door: httpx.AsyncClient) -> None:
    answer = await door.post("/dead-letters", json={"job_id": "0" * 32})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def event_with(**extensions: str) -> Event:
    return Event("dev.mochi.generation.requested", SOURCE, "1", "", None, {}, extensions)


@pytest.mark.parametrize(
    ("code", "status"), [("503", 503), ("400", 400), ("", 0), ("-1", 0), ("abc", 0), ("99999", 0), ("²", 0)]
)
def test_the_status_of_the_last_answer(code: str, status: int) -> None:
    assert status_code_of(event_with(knativeerrorcode=code)) == status


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (b'{"title": "No", "detail": "too large"}', "too large"),
        (b"plain  text\n of a proxy", "plain text of a proxy"),
        (b'{"detail": "cut off in the mid', '{"detail": "cut off in the mid'),
        (b'{"detail": 7}', '{"detail": 7}'),
        (b"", "the event could not be delivered"),
        ("Größe".encode()[:-1] + "ß".encode()[:1], "Größ"),
        (b"x" * 2000, "x" * 300),
    ],
    ids=["problem", "text", "cut JSON", "other JSON", "nothing", "cut character", "long"],
)
def test_the_reason_is_for_people(answered: bytes, reason: str) -> None:
    assert reason_of(event_with(knativeerrordata=b64encode(answered).decode()[:1024])) == reason


def test_a_reason_that_is_nested_without_end_is_shown_as_it_is() -> None:
    nested = "[" * 30_000  # no Knative sends that much, but whoever reaches us may
    assert reason_of(event_with(knativeerrordata=b64encode(nested.encode()).decode())) == nested[:300]


@pytest.mark.parametrize("plain", ["connection refused!", "connect"])
def test_a_reason_that_is_no_base64_is_shown_as_it_is(plain: str) -> None:
    assert reason_of(event_with(knativeerrordata=plain)) == plain
