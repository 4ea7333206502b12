"""Following a job over real connections: both clients."""

from __future__ import annotations

import json
import threading

import pytest

from mochi import (
    Client,
    JobCancelled,
    JobFailed,
    NotFound,
    Retry,
    Status,
    Timeout,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from mochi.api import Api
from mochi.calls import Calls
from mochi.watching import TAIL, wait
from mochi.wire import Reply, Request
from tests.mochi.answers import (
    JOB_ID,
    at_work,
    cancelled,
    completed,
    event,
    failed,
    problem,
    small,
    waiting,
)
from tests.mochi.clients import Make
from tests.mochi.fake_server import Answer, FakeServer, dead_url, json_answer, stream

EVENTS = f"GET /jobs/{JOB_ID}/events"
JOB = f"GET /jobs/{JOB_ID}"
KEEPALIVE = b": keepalive\n\n"


def test_each_change_is_handed_out_to_the_end(make: Make, server: FakeServer) -> None:
    server.on(
        EVENTS,
        stream(
            event(small(step=0), 4),
            KEEPALIVE,
            event(small(step=6), 5, "progress"),
            event(completed(), 9, "completed"),
        ),
    )
    events = list(make(server.url).watch(JOB_ID))
    assert [(e.id, e.status, e.step) for e in events] == [
        ("4", "processing", 0),
        ("5", "processing", 6),
        ("9", "completed", 24),
    ]
    last = events[-1].job
    assert last is not None
    assert last.video is not None
    assert events[0].job is None
    assert server.asked(EVENTS)[0].headers["accept"] == "text/event-stream"


def test_a_stream_that_is_cut_goes_on_after_its_last_event(make: Make, server: FakeServer) -> None:
    half = event(small(step=7), 6)
    server.on(
        EVENTS,
        stream(event(small(), 5), half[:20]),  # the half of an event does not count
        json_answer(problem(503, "store-unavailable"), 503),
        stream(half, event(completed(), 9, "completed")),
    )
    events = list(make(server.url).watch(JOB_ID))
    assert [e.id for e in events] == ["5", "6", "9"]
    assert [s.headers.get("last-event-id") for s in server.asked(EVENTS)] == [None, "5", "5"]


def test_it_begins_after_a_given_event(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, stream(event(completed(), 9, "completed")))
    list(make(server.url).watch(JOB_ID, last_event_id="8"))
    assert server.asked(EVENTS)[0].headers["last-event-id"] == "8"


def test_messages_of_other_kinds_are_passed_over(make: Make, server: FakeServer) -> None:
    odd = [b"data: no json\n\n", b"data: [1]\n\n", event({"job_id": 1, "status": 2}, 1), b"event: x\n\n"]
    server.on(EVENTS, stream(*odd, event(completed(), 9, "completed")))
    assert [e.id for e in make(server.url).watch(JOB_ID)] == ["9"]


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"hello": "world"}),  # 200, and no stream
        Answer(200, {"content-type": "text/html", "content-length": "0"}),
        Answer(404, {"content-length": "0"}),  # a gateway without the route
        stream(),  # granted, and never a byte
        stream(event({**completed(), "version": "x"}, 9, "completed")),  # its end cannot be read
    ],
)
def test_where_there_is_no_stream_the_job_is_polled(make: Make, server: FakeServer, answer: Answer) -> None:
    server.on(EVENTS, answer)
    server.on(JOB, json_answer(at_work()), json_answer(at_work()), json_answer(completed()))
    events = list(make(server.url).watch(JOB_ID))
    assert [e.status for e in events] == ["processing", "completed"]
    assert events[-1].job is not None


def test_polling_outlasts_a_server_that_is_away(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, json_answer({}))
    away = [json_answer(problem(503, "store-unavailable"), 503)] * 10
    server.on(JOB, json_answer(at_work()), *away, json_answer(completed()))
    assert [e.status for e in make(server.url).watch(JOB_ID)] == ["processing", "completed"]


def test_polling_does_not_hide_what_is_wrong(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, json_answer({}))
    server.on(JOB, json_answer({}))
    with pytest.raises(UnexpectedAnswer):
        list(make(server.url).watch(JOB_ID))


def test_an_unknown_job_is_not_asked_for_again(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, json_answer(problem(404, "job-not-found"), 404))
    with pytest.raises(NotFound):
        list(make(server.url).watch(JOB_ID))
    assert len(server.seen) == 1


def test_it_gives_up_on_a_server_that_stays_away(make: Make) -> None:
    with pytest.raises(Unreachable):
        list(make(dead_url()).watch(JOB_ID))


def test_an_error_of_the_server_is_no_outage(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, json_answer(problem(500, "internal-error"), 500))
    with pytest.raises(Unavailable):
        list(make(server.url).watch(JOB_ID))
    assert len(server.seen) == 1


def test_it_does_not_stay_away_for_longer_than_a_minute(make: Make, server: FakeServer) -> None:
    server.on(EVENTS, json_answer(problem(503, "x"), 503, retry_after="61"))
    with pytest.raises(Unavailable):
        list(make(server.url).watch(JOB_ID))
    assert len(server.seen) == 1


def test_time_runs_out(make: Make, server: FakeServer) -> None:
    server.on(JOB, json_answer(waiting()))
    with pytest.raises(Timeout, match="it goes on"):
        make(server.url).wait(JOB_ID, timeout=0.2)
    assert {f"{s.method} {s.target}" for s in server.seen} == {JOB}


def test_a_job_that_has_ended_does_not_time_out(make: Make, server: FakeServer) -> None:
    server.on(JOB, json_answer(completed()))
    assert make(server.url).wait(JOB_ID, timeout=0).status is Status.COMPLETED


class NoStream:
    """A Wire on which there is no stream for 50 s, and then none at all. It notes how long it is to pause."""

    def __init__(self, job: Reply) -> None:
        self.job = job
        self.pauses: list[float] = []

    async def send(self, _request: Request) -> Reply:
        return self.job

    async def open(self, _request: Request, _idle: float) -> Reply:
        return Reply(200, {}) if self.pauses else Reply(503, {"retry-after": "50"})

    async def read(self) -> bytes:
        return b""

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def close(self) -> None:
        pass


async def test_a_server_that_asks_for_patience_does_not_outlast_the_callers_time() -> None:
    wire = NoStream(Reply(200, {}, json.dumps(completed()).encode()))
    job = await wait(Calls(Api.at("http://server"), Retry(), wire), JOB_ID, TAIL + 5)
    assert job.ended
    assert 0 < wire.pauses[0] <= 5


async def test_nor_does_it_while_the_job_is_polled() -> None:
    wire = NoStream(Reply(503, {"retry-after": "7"}))
    with pytest.raises(Timeout):
        await wait(Calls(Api.at("http://server"), Retry(), wire), JOB_ID, 0)
    assert wire.pauses == []


def test_wait_raises_what_became_of_the_job(make: Make, server: FakeServer) -> None:
    client = make(server.url)
    server.on(EVENTS, stream(event(failed(), 9, "failed")))
    with pytest.raises(JobFailed, match=r"too large \(out_of_memory\)") as caught:
        client.wait(JOB_ID)
    assert caught.value.job.error is not None
    server.on(EVENTS, stream(event(cancelled(), 9, "cancelled")))
    with pytest.raises(JobCancelled):
        client.wait(JOB_ID)


def test_a_watcher_may_leave_early(make: Make, server: FakeServer) -> None:
    release = threading.Event()
    server.on(EVENTS, stream(event(small(), 5), hold=release))
    client = make(server.url, retry=Retry(reconnects=1))
    events = client.watch(JOB_ID)
    assert next(events).id == "5"
    events.close()
    release.set()
    server.on(JOB, json_answer(waiting()))
    assert client.get(JOB_ID).id == JOB_ID  # the client goes on


async def test_the_blocking_client_works_beside_a_running_loop(server: FakeServer) -> None:
    server.on(EVENTS, stream(event(small(), 5), event(completed(), 9, "completed")))
    with Client(server.url) as client:
        assert [e.id for e in client.watch(JOB_ID)] == ["5", "9"]
        assert client.wait(JOB_ID).ended
        for first in client.watch(JOB_ID):
            assert first.id == "5"
            break
