"""An accepted event is delivered, whatever ends in between: the broker, or Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis

from tests.local.broker.recorder import Answer, Recorder, event_answer
from tests.local.broker.support import LocalBroker, Subscription
from tests.servers import free_port, redis_server

EVENTS = 200


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        yield server


@pytest.fixture
def broker(tmp_path: Path, redis_url: str) -> Iterator[LocalBroker]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    process = LocalBroker(tmp_path, redis_url)
    yield process
    process.close()


def wanting(recorder: Recorder, name: str, **delivery: object) -> Subscription:
    """A Trigger for the type `test.NAME`, served at `/NAME`."""
    return Subscription(name, [{"exact": {"type": f"test.{name}"}}], recorder.url(f"/{name}"), delivery)


def test_an_event_in_delivery_survives_a_kill(broker: LocalBroker, recorder: Recorder) -> None:
    gate = threading.Event()
    recorder.answer("/a", Answer(gate=gate), Answer())
    broker.deploy([wanting(recorder, "a")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    broker.kill()
    gate.set()
    broker.start()
    assert [r.id for r in recorder.wait("/a", 2)] == ["1", "1"]


def test_an_event_that_waits_for_its_next_try_survives_a_kill(
    broker: LocalBroker, recorder: Recorder
) -> None:
    recorder.answer("/a", Answer(503), Answer())
    broker.deploy([wanting(recorder, "a", retry=1, backoffPolicy="exponential", backoffDelay="PT1H")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    broker.kill()
    broker.start()
    assert [r.id for r in recorder.wait("/a", 2)] == ["1", "1"]


def test_a_reply_survives_a_kill(broker: LocalBroker, recorder: Recorder) -> None:
    """The reply is recorded with the end of its delivery: neither is there without the other."""
    gate = threading.Event()
    recorder.answer("/a", event_answer("test.b"))
    recorder.answer("/b", Answer(gate=gate), Answer())
    broker.deploy([wanting(recorder, "a"), wanting(recorder, "b")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/b")
    broker.kill()
    gate.set()
    broker.start()
    assert [r.id for r in recorder.wait("/b", 2)] == ["reply", "reply"]
    assert len(recorder.received("/a")) == 1


def test_a_kill_under_load_loses_nothing_that_was_accepted(broker: LocalBroker, recorder: Recorder) -> None:
    recorder.answer("/a", event_answer("test.b"))
    broker.deploy([wanting(recorder, "a", retry=1), wanting(recorder, "b")])
    half = threading.Semaphore(0)

    def submit(event_id: str) -> str | None:
        try:
            accepted = broker.post("test.a", event_id) == 202
        except httpx.TransportError:
            accepted = False
        half.release()
        return event_id if accepted else None

    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(submit, str(n)) for n in range(EVENTS)]
        for _ in range(EVENTS // 2):
            half.acquire()
        broker.kill()
        accepted = {event_id for future in first if (event_id := future.result())}
    assert len(accepted) >= EVENTS // 4
    broker.start()
    recorder.wait_until("/a", lambda requests: accepted <= {r.id for r in requests})
    # Each delivery was answered by an event, which is owed too. Those of one event are alike: count them.
    recorder.wait("/b", len(accepted))


def test_settled_events_leave_nothing_behind(broker: LocalBroker, recorder: Recorder, redis_url: str) -> None:
    broker.deploy([wanting(recorder, "a")])
    for n in range(20):
        assert broker.post("test.a", str(n)) == 202
    recorder.wait("/a", 20)
    assert broker.stop() == 0
    broker.start()  # delivers again what the stop left owed, if anything
    assert broker.post("test.a", "last") == 202
    recorder.wait_until("/a", lambda requests: requests[-1].id == "last")
    assert broker.stop() == 0
    with redis.Redis.from_url(redis_url) as client:
        assert client.xlen("broker:events:video/a") <= 1


def test_what_a_removed_trigger_was_owed_is_dropped(
    broker: LocalBroker, recorder: Recorder, redis_url: str
) -> None:
    recorder.answer("/a", Answer(503))
    broker.deploy([wanting(recorder, "a", retry=9, backoffPolicy="linear", backoffDelay="PT1H")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    assert broker.stop() == 0
    broker.deploy([wanting(recorder, "b")])
    assert broker.post("test.b", "2") == 202
    recorder.wait("/b")
    assert broker.stop() == 0
    with redis.Redis.from_url(redis_url) as client:
        assert not client.exists("broker:events:video/a")


def test_redis_away_for_a_while(tmp_path: Path, recorder: Recorder) -> None:
    """Posts are refused, what is in delivery goes on, and everything resumes."""
    gate = threading.Event()
    recorder.answer("/a", Answer(gate=gate, status=200), Answer())
    port = free_port()
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis", port, appendonly=True) as url:
        broker = LocalBroker(tmp_path, url)
        broker.deploy([wanting(recorder, "a")])
        assert broker.post("test.a", "1") == 202
        recorder.wait("/a")
    try:
        assert broker.post("test.a", "2") == 503
        assert httpx.get(f"{broker.base}/healthz", trust_env=False).status_code == 503
        gate.set()
        with redis_server(tmp_path / "redis", port, appendonly=True):
            assert httpx.get(f"{broker.base}/healthz", trust_env=False).status_code == 200
            assert broker.post("test.a", "3") == 202
            recorder.wait_until("/a", lambda requests: "3" in {r.id for r in requests})
            assert "1" in {r.id for r in recorder.received("/a")}
            assert "2" not in {r.id for r in recorder.received("/a")}
    finally:
        broker.close()


def test_a_redis_that_forgot_everything(broker: LocalBroker, recorder: Recorder, redis_url: str) -> None:
    broker.deploy([wanting(recorder, "a")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    assert broker.post("test.a", "2") == 202
    recorder.wait_until("/a", lambda requests: requests[-1].id == "2")


def test_a_full_redis_refuses(broker: LocalBroker, recorder: Recorder, redis_url: str) -> None:
    broker.deploy([wanting(recorder, "a")])
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "1")
        try:
            assert broker.post("test.a", "1") == 503
        finally:
            client.config_set("maxmemory", "0")
    assert broker.post("test.a", "2") == 202
    assert [r.id for r in recorder.wait("/a")] == ["2"]


def test_a_reply_that_redis_does_not_take(broker: LocalBroker, recorder: Recorder, redis_url: str) -> None:
    """The event stays owed, and the reply comes with its next delivery."""
    gate = threading.Event()
    recorder.answer("/a", replace(event_answer("test.b"), gate=gate))
    broker.deploy([wanting(recorder, "a"), wanting(recorder, "b")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "1")
        try:
            gate.set()
            broker.wait_for_log("redis_away")
            broker.kill()
        finally:
            client.config_set("maxmemory", "0")
    broker.start()
    assert [r.id for r in recorder.wait("/b")] == ["reply"]
    assert [r.id for r in recorder.received("/a")] == ["1", "1"]


def test_stops_at_once_with_a_delivery_in_flight(broker: LocalBroker, recorder: Recorder) -> None:
    gate = threading.Event()
    recorder.answer("/a", Answer(gate=gate), Answer())
    broker.deploy([wanting(recorder, "a")])
    assert broker.post("test.a", "1") == 202
    recorder.wait("/a")
    try:
        assert broker.stop(within=10) == 0
    finally:
        gate.set()
    broker.start()
    assert [r.id for r in recorder.wait("/a", 2)] == ["1", "1"]
