"""What the local broker says beyond the contract: limits, problem documents, logs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.local.broker.recorder import Answer, Recorder
from tests.local.broker.support import LocalBroker, Subscription, event_headers

LIMIT = 1024 * 1024
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        yield server


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, recorder: Recorder
) -> Iterator[LocalBroker]:
    process = LocalBroker(tmp_path_factory.mktemp("broker"), redis_url)
    process.deploy([Subscription("a", [{"exact": {"type": "test.a"}}], recorder.url("/a"))])
    yield process
    process.close()


@pytest.fixture
def client(broker: LocalBroker) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=broker.base, trust_env=False) as client:
        yield client


def test_the_largest_event_is_taken(client: httpx.Client, recorder: Recorder) -> None:
    headers = event_headers("test.a", "large")
    assert client.post("/video/default", headers=headers, content=b"x" * LIMIT).status_code == 202
    requests = recorder.wait_until("/a", lambda found: any(r.id == "large" for r in found))
    assert max(len(r.body) for r in requests) == LIMIT


@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_one_is_refused(client: httpx.Client, chunked: bool) -> None:
    body = b"x" * (LIMIT + 1)
    content = iter([body[:LIMIT], body[LIMIT:]]) if chunked else body
    answer = client.post("/video/default", headers=event_headers("test.a", "larger"), content=content)
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"an event may have {LIMIT} bytes"


def test_a_refusal_names_every_wrong_attribute(client: httpx.Client) -> None:
    answer = client.post("/video/default", headers={"ce-specversion": "1.0", "ce-time": "noon"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in answer.json()["errors"]} == {"id", "source", "type", "time"}


@pytest.mark.parametrize("path", ["/", "/video", "/video/default/more", "/video/other"])
def test_other_paths_are_not_found(client: httpx.Client, path: str) -> None:
    answer = client.post(path, headers=event_headers())
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200


def test_logs_have_a_line_for_each_fact(
    client: httpx.Client, broker: LocalBroker, recorder: Recorder
) -> None:
    recorder.answer("/a", Answer(400))
    headers = event_headers("test.a", "logged", subject="job", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert client.post("/video/default", headers=headers).status_code == 202
    recorder.wait_until("/a", lambda found: any(r.id == "logged" for r in found))
    assert broker.stop() == 0
    lines = [json.loads(line) for line in broker.log.read_text().splitlines()]
    about = [line for line in lines if line.get("id") == "logged"]
    assert [line["event"] for line in about[:1]] == ["accepted"]
    assert all(line["trace"] == TRACE and line["subject"] == "job" for line in about)
    assert {"started", "stopped"} <= {line["event"] for line in lines}
