"""What the chaos test itself relies on: a plan by a seed, a proxy that obeys, eyes that see."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.plan import Plan
from local.processes import Program
from mochi import Job
from tests.chaos.clients import Log, Observer
from tests.chaos.invariants import lost, wrong_ends, wrong_events
from tests.chaos.logs import unexpected
from tests.chaos.plan import CONNECTIONS, PROCESSES, SERVERS, Kind, make_plan
from tests.chaos.proxy import Proxy
from tests.chaos.report import steps_twice
from tests.chaos.up import through

WAIT = 30.0
PLAN = make_plan(7, 3, 5.0)
KEYS = [wish.key for wish in PLAN.wishes]


# The plan


def test_a_seed_decides_everything() -> None:
    assert make_plan(7, 50, 60.0) == make_plan(7, 50, 60.0)
    assert make_plan(7, 50, 60.0) != make_plan(8, 50, 60.0)


def test_everything_goes_wrong_and_nothing_else() -> None:
    plan = make_plan(1, 10, 2000.0)
    assert {fault.kind for fault in plan.faults} == set(Kind)
    assert {fault.target for fault in plan.faults} == {*PROCESSES, *SERVERS, *CONNECTIONS}
    assert plan.faults[-1].at < plan.seconds


# The proxy


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(4096):
                        connection.sendall(data)
                except OSError:
                    pass  # it was cut

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # the test is over
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echo() as port, Proxy(port) as started:
        yield started


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), WAIT)


def said(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(4096)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def test_everything_passes_and_the_end_too(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"hello") == b"hello"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(4096) == b""


def test_a_cut_ends_what_is_there_and_nothing_more(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"hello") == b"hello"
        proxy.cut()
        assert ended(connection)
    with connect(proxy) as connection:
        assert said(connection, b"again") == b"again"


def test_refusing_lasts_until_it_is_restored(proxy: Proxy) -> None:
    proxy.refuse()
    with connect(proxy) as connection:
        assert ended(connection)
    proxy.restore()
    with connect(proxy) as connection:
        assert said(connection, b"hello") == b"hello"


def test_what_was_sent_into_silence_comes_after_it(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"hello") == b"hello"
        proxy.silence()
        connection.sendall(b"anyone?")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        connection.settimeout(WAIT)
        proxy.restore()
        assert connection.recv(4096) == b"anyone?"


def test_a_delay_keeps_the_order(proxy: Proxy) -> None:
    proxy.delay(0.05)
    with connect(proxy) as connection:
        assert said(connection, b"first") == b"first"
        assert said(connection, b"second") == b"second"


# What is between the processes


def program(name: str, **environ: str) -> Program:
    async def ready() -> bool:
        return True

    folder = Path("/nonexistent")
    return Program(name, ("/bin/true",), environ, "", folder / "log", folder, ready)


def test_every_word_between_the_processes_goes_through_a_proxy() -> None:
    sink = {"K_SINK": "http://127.0.0.1:1/video/default"}
    names = ("Service/submit", "Service/completion", "Service/reaper", "InferenceService/mochi-1")
    addresses = ",".join(f"{name}=http://127.0.0.1:{n}" for n, name in enumerate(names, 2))
    plan = Plan(
        servers=(program("valkey"),),
        workers=(program("predictor", **sink),),
        doors=(program("broker", **sink, MOCHI_ADDRESSES=addresses), program("submit", **sink)),
        reaper="",
        lease_seconds=1,
    )
    changed = through({"broker": "11", "completion": "13", "reaper": "14", "predictor": "15"}, plan)
    assert [p.environ.get("K_SINK", "").split("/")[2:3] for p in changed.programs] == [
        [],
        *[["127.0.0.1:11"]] * 3,
    ]
    ports = re.findall(r":(\d+)", changed.doors[0].environ["MOCHI_ADDRESSES"])
    assert ports == ["2", "13", "14", "15"]  # nobody sends to submit here


# What is looked at


def test_mended_books_and_stack_traces_are_seen(tmp_path: Path) -> None:
    lines = ['{"event": "tick"}', '{"event": "books_mended", "job": "a", "what": "b"}', "Traceback (most"]
    (tmp_path / "reaper.log").write_text("\n".join(lines))
    assert len(unexpected(tmp_path)) == 2


def job(job_id: str = "a", **fields: object) -> Job:
    return Job.parse({"job_id": job_id, "status": "completed", "version": 5, "video": VIDEO, **fields})


VIDEO = {"s3_url": "s3://videos/videos/a/1-t/video.mp4", "etag": "e1", "bytes": 3}
END = 'dev.mochi.generation.completed {"etag": "e1"}'


def accepted(*ids: str) -> Log:
    log = Log()
    log.accepted.update(zip(KEYS, ids, strict=True))
    return log


def test_a_run_without_a_fault_breaks_nothing() -> None:
    jobs = {name: job(name) for name in "abc"}
    log = accepted(*jobs)
    assert list(lost(PLAN, log, jobs, jobs.keys())) == []
    assert list(wrong_ends(PLAN, log, jobs)) == []
    assert list(wrong_events(jobs, {name: [END, END] for name in jobs})) == []


def test_lost_and_doubled_jobs_are_seen() -> None:
    jobs = {name: job(name) for name in "abc"}
    assert list(lost(PLAN, accepted("a", "b", "x"), jobs, jobs.keys()))  # x is gone, c was made twice
    assert list(lost(PLAN, accepted("a", "b", "b"), jobs, {"a", "b"}))
    assert list(lost(PLAN, Log(), {}, set()))  # nothing was ever accepted


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "processing", "video": None},
        {"status": "cancelled", "video": None},  # nobody asked for it
        {"status": "completed", "video": None},
        {"status": "failed", "video": None, "error": {"code": "pipeline_error", "message": "no"}},
        {"status": "failed", "video": None},
    ],
)
def test_wrong_ends_are_seen(wrong: dict[str, Any]) -> None:
    assert list(wrong_ends(PLAN, accepted("a", "b", "c"), {"a": job(**wrong)}))


@pytest.mark.parametrize(
    "recorded",
    [
        {},
        {"a": [END, 'dev.mochi.generation.completed {"etag": "e2"}']},
        {"a": [END, "dev.mochi.generation.failed {}"]},
        {"a": ["dev.mochi.generation.failed {}"]},
        {"a": ['dev.mochi.generation.completed {"etag": "e2"}']},
        {"a": [END], "b": [END]},
    ],
)
def test_wrong_events_are_seen(recorded: dict[str, list[str]]) -> None:
    assert list(wrong_events({"a": job()}, recorded))


@pytest.mark.parametrize(
    "later",
    [
        {"version": 4},
        {"version": 6, "status": "failed", "video": None},
        {"version": 6, "video": VIDEO | {"etag": "e2"}},
    ],
)
def test_going_back_is_seen(later: dict[str, Any]) -> None:
    log = Log()
    observer = Observer("http://127.0.0.1:1", log)
    observer.see(job())
    observer.see(job())
    assert log.faults == []
    observer.see(job(**later))
    assert log.faults


def test_steps_done_twice_are_those_of_attempts_that_overlap() -> None:
    attempts = [{"first_step": 0, "last_step": 30}, {"first_step": 20, "last_step": 50}]
    assert steps_twice({"a": job(attempts=attempts), "b": job("b")}) == (60, 10)
