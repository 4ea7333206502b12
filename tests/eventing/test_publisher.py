"""One contract for both publishers; then what HTTP alone can do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from eventing.codec import InvalidEvent
from eventing.events import Event
from eventing.publisher import HttpPublisher, MemoryPublisher, Publisher
from jobs.errors import ConfigurationError, PublishFailed
from jobs.job import EventKind
from tests.eventing.broker import OK, RecordingBroker, recording_broker, serving, status
from tests.eventing.specification import violations
from tests.eventing.values import DELIVERY, event


@dataclass
class Rig:
    """A publisher, what has been taken from it, and a way to have it refused."""

    publisher: Publisher
    taken: Callable[[], list[Event]]
    refuse: Callable[[bool], None]


@pytest.fixture
async def broker() -> AsyncIterator[RecordingBroker]:
    async with recording_broker() as broker:
        yield broker


@pytest.fixture
async def http(broker: RecordingBroker) -> AsyncIterator[HttpPublisher]:
    publisher = HttpPublisher(broker.url, timeout=30)
    yield publisher
    await publisher.aclose()


@pytest.fixture(params=["http", "memory"])
def rig(request: pytest.FixtureRequest, broker: RecordingBroker, http: HttpPublisher) -> Rig:
    if request.param == "memory":
        memory = MemoryPublisher()

        def fail(refused: bool) -> None:
            memory.failure = "told to" if refused else None

        return Rig(memory, lambda: memory.events, fail)

    def answer(refused: bool) -> None:
        broker.answer = status(503) if refused else OK

    return Rig(http, lambda: broker.taken, answer)


class TestContract:
    async def test_events_are_taken_as_they_are_in_order(self, rig: Rig) -> None:
        sent = [event(kind) for kind in EventKind]
        for each in sent:
            await rig.publisher.publish(each)
        assert rig.taken() == sent

    async def test_many_at_once(self, rig: Rig) -> None:
        sent = [event(number=DELIVERY + n) for n in range(100)]
        await asyncio.gather(*(rig.publisher.publish(each) for each in sent))
        assert sorted(e.id for e in rig.taken()) == sorted(e.id for e in sent)

    async def test_what_is_refused_raises_and_may_come_again(self, rig: Rig) -> None:
        rig.refuse(True)
        with pytest.raises(PublishFailed) as caught:
            await rig.publisher.publish(event())
        assert (caught.value.status, caught.value.retry_after) == (503, 5)
        rig.refuse(False)
        await rig.publisher.publish(event())
        assert rig.taken() == [event()]

    async def test_what_is_no_event_is_not_sent(self, rig: Rig) -> None:
        with pytest.raises(InvalidEvent):
            await rig.publisher.publish(replace(event(), id="a\r\nhost: b"))
        assert rig.taken() == []

    async def test_the_same_event_twice_has_one_id(self, rig: Rig) -> None:
        for _ in range(2):
            await rig.publisher.publish(event())
        assert len({e.id for e in rig.taken()}) == 1

    async def test_nothing_is_taken_after_the_end(self, rig: Rig) -> None:
        await rig.publisher.aclose()
        await rig.publisher.aclose()
        with pytest.raises(PublishFailed, match="closed"):
            await rig.publisher.publish(event())
        assert rig.taken() == []


async def test_the_request_is_a_cloudevent(http: HttpPublisher, broker: RecordingBroker) -> None:
    await http.publish(event(EventKind.FAILED))
    (request,) = broker.requests
    assert (request.method, request.path) == ("POST", "/video/default")
    assert violations(request.headers, request.body) == []


async def test_one_connection_serves_many_events(http: HttpPublisher, broker: RecordingBroker) -> None:
    for number in range(20):
        await http.publish(event(number=DELIVERY + number))
    assert (len(broker.requests), broker.connections) == (20, 1)


@pytest.mark.parametrize("code", [200, 202, 204])
async def test_any_2xx_is_taken(http: HttpPublisher, broker: RecordingBroker, code: int) -> None:
    broker.answer = status(code)
    await http.publish(event())
    assert len(broker.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 307, 308, 400, 404, 429, 500, 503])
async def test_any_other_status_is_a_failure_at_once(
    http: HttpPublisher, broker: RecordingBroker, code: int
) -> None:
    broker.answer = status(code, "location: /elsewhere", "retry-after: 0")
    with pytest.raises(PublishFailed, match=str(code)):
        await http.publish(event())
    assert [r.path for r in broker.requests] == ["/video/default"]


async def test_a_connection_that_went_stale_is_tried_again_once(
    http: HttpPublisher, broker: RecordingBroker
) -> None:
    await http.publish(event())
    broker.script = [None]
    await http.publish(event(number=DELIVERY + 1))
    first, second = event().id, event(number=DELIVERY + 1).id
    assert [r.headers["ce-id"] for r in broker.requests] == [first, second, second]


async def test_a_broker_that_hangs_up_again_and_again_is_a_failure(
    http: HttpPublisher, broker: RecordingBroker
) -> None:
    broker.script = [None, None, OK]
    with pytest.raises(PublishFailed, match="broke off"):
        await http.publish(event())
    assert len(broker.requests) == 2


@pytest.mark.parametrize("answer", [b"not HTTP\r\n\r\n", b"HTTP/1.1 202 A\r\ncontent-length: x\r\n\r\n"])
async def test_an_answer_that_is_no_http_is_a_failure(
    http: HttpPublisher, broker: RecordingBroker, answer: bytes
) -> None:
    broker.answer = answer
    with pytest.raises(PublishFailed, match="broke off"):
        await http.publish(event())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nslow"])
async def test_no_answer_in_time_is_a_failure(broker: RecordingBroker, answer: bytes) -> None:
    broker.answer = answer
    async with contextlib.aclosing(HttpPublisher(broker.url, timeout=0.2)) as publisher:
        with pytest.raises(PublishFailed, match=r"no answer within 0\.2 s"):
            await publisher.publish(event())
    assert len(broker.requests) == 1


async def test_an_answer_that_never_ends_is_a_failure_although_each_byte_is_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with (
        serving(drip) as port,
        contextlib.aclosing(HttpPublisher(f"http://127.0.0.1:{port}/", timeout=0.3)) as publisher,
    ):
        with pytest.raises(PublishFailed, match="no answer within"):
            await publisher.publish(event())


async def test_nobody_there_is_a_failure_without_secrets() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://user:hunter2@127.0.0.1:{taken.getsockname()[1]}/video/default?token=s3cret"
        async with contextlib.aclosing(HttpPublisher(url)) as publisher:
            with pytest.raises(PublishFailed) as caught:
                await publisher.publish(event())
    said = str(caught.value) + repr(caught.value.__cause__)
    assert "127.0.0.1" in said
    assert not any(secret in said for secret in ("user", "hunter2", "s3cret"))


async def test_the_credentials_of_the_url_are_sent(broker: RecordingBroker) -> None:
    url = broker.url.replace("http://", "http://user:hunter2@")
    async with contextlib.aclosing(HttpPublisher(url)) as publisher:
        await publisher.publish(event())
    assert broker.requests[0].headers["authorization"].startswith("Basic ")


async def test_no_proxy_of_the_environment_is_used(
    broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with contextlib.aclosing(HttpPublisher(broker.url)) as publisher:
        await publisher.publish(event())
    assert len(broker.requests) == 1


async def test_a_publish_that_is_cancelled_leaves_the_publisher_usable(
    http: HttpPublisher, broker: RecordingBroker
) -> None:
    broker.hold = asyncio.Event()
    task = asyncio.create_task(http.publish(event()))
    await broker.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    broker.hold = None
    await http.publish(event())
    assert len(broker.requests) == 2


@pytest.mark.parametrize("url", ["", "broker", "ftp://h/", "http://", "http://user:hunter2@h:port/"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HttpPublisher(url)
    assert "hunter2" not in str(caught.value)
