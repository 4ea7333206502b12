"""What each process is: what it loads, how it starts, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.store import JobStore
from tests.functions.lives import given
from tests.functions.support import ROOT, Function, RecordingBroker, command, function

REQUEST = {"prompt": "a fox", "num_frames": 7}


@pytest.mark.parametrize("name", ["submit", "completion", "reaper"])
def test_a_function_loads_nothing_that_it_does_not_need(name: str, environ: dict[str, str]) -> None:
    code = "import json, sys; import functions.{}.main; print(json.dumps(sorted(sys.modules)))"
    _, base = command(name, 0)
    ended = subprocess.run(
        [sys.executable, "-c", code.format(name)],
        env={**base, **environ},
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    loaded = {module.partition(".")[0] for module in json.loads(ended.stdout)}
    assert {"jobs", "eventing", "functions", "redis"} <= loaded
    assert not loaded & {"torch", "diffusers", "transformers", "numpy", "av", "kserve"}
    assert not loaded & {"boto3", "botocore", "inference_service", "mochi", "local"}
    if name != "submit":
        assert not loaded & {"fastapi", "prometheus_client"}


async def test_a_request_that_offers_another_protocol_is_answered_as_any_other(
    environ: dict[str, str], tmp_path: Path
) -> None:
    websocket = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    websocket |= {"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    http2 = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQ"}
    with function("submit", environ, tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
            for offer in (websocket, http2, {}):
                answer = await client.post("/jobs", json=REQUEST, headers=offer)
                assert answer.status_code == 202, answer.text


async def test_sigterm_ends_a_process_with_an_open_stream(
    environ: dict[str, str], store: JobStore, broker: RecordingBroker, tmp_path: Path
) -> None:
    assert not broker.received
    job = await given(store)
    with function("submit", environ, tmp_path) as running:
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=30) as client,
            client.stream("GET", f"/jobs/{job.id}/events") as answer,
        ):
            lines = answer.aiter_lines()
            assert await anext(lines)
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):  # cut: an EventSource comes back for the rest
                _ = [line async for line in lines]
            assert running.process.wait(10) in (0, -signal.SIGTERM)
        assert "Traceback" not in running.log.read_text()


async def test_a_request_in_flight_is_answered_at_sigterm(
    environ: dict[str, str], store: JobStore, tmp_path: Path
) -> None:
    with function("submit", environ, tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:

            async def slow() -> AsyncIterator[bytes]:
                yield b'{"prompt": '
                running.process.send_signal(signal.SIGTERM)
                yield b'"a fox"}'

            answer = await client.post("/jobs", content=slow(), headers={"content-type": "application/json"})
            assert answer.status_code == 202
        assert running.process.wait(10) in (0, -signal.SIGTERM)
        assert (await store.get(answer.json()["job_id"])).status == "pending"


async def test_every_line_of_the_log_is_json_and_names_the_job(
    api: httpx.AsyncClient, submit: Function
) -> None:
    job_id = (await api.post("/jobs", json=REQUEST)).json()["job_id"]
    lines = [line for line in submit.log.read_text().splitlines() if not line.startswith("INFO:")]
    assert all(line.startswith("{") for line in lines)
    (line,) = [line for line in submit.lines("submitted") if line["job"] == job_id]
    assert line["service"] == "submit"
    assert line["queue"] == "long-high" or line["queue"] == "short-low"
    assert len(line["trace"]) == 32
    assert line["door"] == "http"


async def test_health_and_the_page(api: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/livez"):
        assert (await api.head(path)).status_code == 200
    assert (await api.get("/livez")).json() == {"status": "ok"}
    health = (await api.get("/healthz")).json()
    assert health["status"] == "ok"
    assert [warning.partition(":")[0] for warning in health["warnings"]] == [
        "Redis keeps no append-only file (appendonly no)"  # as the tests' own does
    ]
    root = await api.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "/openapi.json")


async def test_every_route_of_the_document_has_a_handler(submit: Function, api: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient() as client:
        document = (await client.get(f"{submit.url}/openapi.json")).json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes == {
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/jobs"),
        ("POST", "/jobs"),
        ("GET", "/jobs/{job_id}"),
        ("POST", "/jobs/{job_id}/cancel"),
        ("GET", "/jobs/{job_id}/events"),
        ("GET", "/jobs/{job_id}/result"),
        ("HEAD", "/jobs/{job_id}/result"),
        ("GET", "/download/{job_id}"),
        ("GET", "/healthz"),
        ("GET", "/livez"),
        ("GET", "/metrics"),
    }
    for method, path in routes:
        answer = await api.request(method, path.replace("{job_id}", "0" * 32))
        assert answer.status_code != 405, (method, path)
        if answer.status_code == 404 and method != "HEAD":
            assert answer.json()["type"] == "/problems/job-not-found"


async def test_metrics_are_what_prometheus_reads(api: httpx.AsyncClient, store: JobStore) -> None:
    for _ in range(3):
        await given(store)
    before = await samples(api)
    job_id = (await api.post("/jobs", json=REQUEST | {"queue": "short-low"})).json()["job_id"]
    await api.get(f"/jobs/{job_id}")
    await api.get("/jobs/abc")
    after = await samples(api)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0)

    assert after["mochi_store_up", ()] == 1
    assert after["mochi_pool_credits", (("pool", "mochi-1"),)] == 1
    assert after["mochi_pool_credit_limit", (("pool", "mochi-1"),)] == 1
    assert after["mochi_backlog_jobs", (("queue", "short-low"),)] == 3
    assert grown("mochi_jobs_submitted_total", queue="short-low", door="http") == 1
    count = "mochi_http_response_start_seconds_count"
    assert grown(count, method="GET", route="/jobs/{job_id}", status="200") == 1
    assert grown(count, method="GET", route="/jobs/{job_id}", status="404") == 1


async def samples(api: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
