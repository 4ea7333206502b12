"""The whole process, `python -m inference_service`, over HTTP: with the tiny model, Redis and S3."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO

import av
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventing.codec import decode
from eventing.events import TYPE_PREFIX, outcome_of
from jobs.job import Job, Status
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import Answered, JobStore, NewJob
from tests.inference_service.rig import serving, until
from tests.inference_service.support import SPEC
from tests.inference_service.support import job as make_job

READY = "/v2/models/mochi-1/ready"
PREDICT = "/v1/models/mochi-1:predict"
CALL = {"instances": [{"prompt": "a red circle", "num_frames": 7, "num_inference_steps": 2}]}
STRUCTURED = "application/cloudevents+json"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Server:
    """A process and a client of it."""

    def __init__(self, process: Process, client: httpx.AsyncClient, log: Path) -> None:
        self.process, self.client, self.log = process, client, log

    async def answers(self, path: str, status: int) -> None:
        async def answered() -> bool:
            assert self.process.returncode is None, self.log.read_text("utf-8")
            try:
                return (await self.client.get(path)).status_code == status
            except httpx.TransportError:
                return False

        await until(answered)

    async def events(self, job: Job) -> httpx.Response:
        """Post the job's `requested`, binary."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": f"{job.id}:requested:{job.delivery}",
            "ce-source": "/mochi/submit",
            "ce-type": f"{TYPE_PREFIX}requested",
        }
        return await self.client.post("/events", headers=headers, json={"job_id": job.id})


async def start(environ: dict[str, str], log: IO[bytes], *program: str) -> Process:
    program = program or ("-m", "inference_service")
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable, *program, env=inherited | environ, stdout=log, stderr=log
    )


def environ(settings: Settings, scratch: Path, port: int) -> dict[str, str]:
    return {
        "REDIS_URL": settings.redis_url,
        "AWS_S3_ENDPOINT": settings.aws_s3_endpoint or "",
        "AWS_S3_BUCKET": settings.aws_s3_bucket,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key,
        "SCRATCH_DIR": str(scratch),
        "MOCHI_HOST": "127.0.0.1",
        "PORT": str(port),
        "MOCHI_GRACE_SECONDS": "1",
    }


@asynccontextmanager
async def running(environ: dict[str, str], log: Path, *program: str) -> AsyncIterator[Server]:
    """`program`: what Python is to run, where it is not `-m inference_service`."""
    with log.open("wb") as output:
        process = await start(environ, output, *program)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{environ['PORT']}", timeout=60) as client:
            yield Server(process, client, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def broker() -> AsyncIterator[tuple[str, list[str]]]:
    """A sink for events: its URL, and the types of what it got."""
    types: list[str] = []

    async def take(request: Request) -> Response:
        types.append(request.headers["ce-type"].removeprefix(TYPE_PREFIX))
        return Response(status_code=202)

    async with serving(Starlette(routes=[Route("/", take, methods=["POST"])])) as url:
        yield url, types


@pytest.fixture
async def server(settings: Settings, model_scratch: Path, tmp_path: Path) -> AsyncIterator[Server]:
    """With the tiny model."""
    async with running(environ(settings, model_scratch, free_port()), tmp_path / "log") as server:
        yield server


@pytest.fixture
async def fast_server(
    settings: Settings, tmp_path: Path, broker: tuple[str, list[str]]
) -> AsyncIterator[Server]:
    """With no model, and a Broker."""
    more = {"MODEL_NAME": "none", "K_SINK": broker[0], "MOCHI_GRACE_SECONDS": "60"}
    async with running(environ(settings, tmp_path, free_port()) | more, tmp_path / "log") as server:
        yield server


async def submit(store: JobStore, **changes: int) -> Job:
    spec = replace(SPEC, **changes)  # type: ignore[arg-type]  # fields that are integers
    return (await store.submit(NewJob(uuid.uuid4().hex, spec, 1.0))).job


def decoded(video: bytes) -> tuple[int, int, int]:
    """Frames, width and height."""
    with av.open(BytesIO(video), "r") as container:
        frames = list(container.decode(video=0))
    return len(frames), frames[0].width, frames[0].height


async def denoising(store: JobStore, job: Job) -> None:
    async def stepped() -> bool:
        return (await store.get(job.id)).step > 0

    await until(stepped)


@pytest.mark.timeout(240)
async def test_a_predictors_life(server: Server, store: JobStore, storage: VideoStorage) -> None:
    # It is up at once, and not ready before its model is loaded.
    await server.answers("/v2/health/live", 200)
    assert (await server.client.get(READY)).status_code == 404
    assert (await server.client.post("/events", json={})).status_code == 503
    await server.answers(READY, 200)
    profile = await store.load_profile()
    assert profile is not None
    assert profile.name == "tiny-mochi"

    # An event is answered with an event, and the video is what was asked for.
    job = await submit(store, width=48, num_frames=13)
    answer = await server.events(job)
    assert answer.headers["ce-type"] == f"{TYPE_PREFIX}completed"
    key = answer.json()["video"]["key"]
    assert decoded(b"".join(storage.read(key))) == (13, 48, 32)
    again = await server.events(job)
    assert (again.headers["ce-id"], again.json()) == (answer.headers["ce-id"], answer.json())
    outcome = outcome_of(decode(dict(answer.headers), answer.content))
    await store.complete(job.id, outcome)
    assert (await server.events(job)).status_code == 204, "it has ended"

    # While it works, probes and metrics are answered.
    long = await submit(store, width=64, height=64, num_frames=61, num_inference_steps=200)
    waiting = asyncio.create_task(server.events(long))
    await denoising(store, long)
    assert (await server.client.get(READY)).status_code == 200
    assert (await server.client.get("/v2/health/live")).status_code == 200
    metrics = (await server.client.get("/metrics")).text
    assert 'mochi_predictor_jobs_total{outcome="completed"} 1.0' in metrics
    assert 'mochi_phase_seconds_count{phase="denoising"} 1.0' in metrics

    # SIGTERM: when the grace period is over the job is handed over, and the process ends.
    server.process.send_signal(signal.SIGTERM)
    answer = await waiting
    assert answer.headers["ce-type"] == f"{TYPE_PREFIX}continued"
    async with asyncio.timeout(60):
        assert await server.process.wait() == 0
    now = await store.get(long.id)
    assert (now.status, now.delivery) == (Status.PROCESSING, int(answer.headers["ce-delivery"]))
    assert "Traceback" not in server.log.read_text("utf-8")


async def test_at_sigterm_the_job_is_handed_over_and_published_where_its_connection_is_gone(
    settings: Settings, store: JobStore, model_scratch: Path, tmp_path: Path, broker: tuple[str, list[str]]
) -> None:
    url, types = broker
    more = {"K_SINK": url, "MOCHI_GRACE_SECONDS": "100"}
    scratch = environ(settings, model_scratch, free_port()) | more
    async with running(scratch, tmp_path / "log") as server:
        await server.answers(READY, 200)
        job = await submit(store, num_inference_steps=200)
        waiting = asyncio.create_task(server.events(job))
        await denoising(store, job)
        waiting.cancel()
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            assert await server.process.wait() == 0
    assert types == ["continued"]
    assert list((model_scratch / "work").iterdir()) == []


@pytest.mark.timeout(240)
async def test_after_kill_9_another_process_makes_the_same_video_from_the_checkpoint(
    settings: Settings, store: JobStore, storage: VideoStorage, model_scratch: Path, tmp_path: Path
) -> None:
    spec = {"width": 64, "height": 64, "num_frames": 61, "num_inference_steps": 120}
    short = {"MOCHI_LEASE_SECONDS": "2", "MOCHI_CHECKPOINT_SECONDS": "1"}
    job = await submit(store, **spec)
    first = environ(settings, model_scratch, free_port()) | short
    # Another host: it has the model, and nothing of the job.
    other = tmp_path / "other host"
    shutil.copytree(model_scratch / "models", other / "models")
    second = environ(settings, other, free_port()) | short
    async with running(first, tmp_path / "first") as killed:
        await killed.answers(READY, 200)
        work = asyncio.create_task(killed.events(job))

        async def checkpointed() -> bool:
            assert not work.done()
            return '"event":"checkpoint"' in killed.log.read_text("utf-8").replace(": ", ":")

        await until(checkpointed)
        killed.process.kill()
        with pytest.raises(httpx.TransportError):
            await work
    async with running(second, tmp_path / "second") as server:
        await server.answers(READY, 200)

        async def completed() -> bool:
            answer = await server.events(job)
            return bool(answer.headers.get("ce-type") == f"{TYPE_PREFIX}completed")

        await until(completed)  # once the lease of the dead has run out
        assert '"event":"resumed"' in server.log.read_text("utf-8").replace(": ", ":")
        ended = await store.claim(job.id, "test")
        assert isinstance(ended, Answered)
        assert ended.delivery.outcome is not None
        await store.complete(job.id, ended.delivery.outcome)
        whole = await server.events(await submit(store, **spec))
    assert ended.delivery.outcome.artifact is not None
    assert ended.delivery.outcome.artifact.etag == whole.json()["video"]["etag"]
    assert list(storage.list(f"checkpoints/{job.id}/")) == []


async def test_kserves_own_routes(
    fast_server: Server, broker: tuple[str, list[str]], store: JobStore
) -> None:
    client = fast_server.client
    await fast_server.answers(READY, 200)
    assert (await client.get("/v1/models/mochi-1")).json() == {"name": "mochi-1", "ready": True}
    bad = await client.post(PREDICT, json={"instances": [{"width": 33}]})
    assert bad.status_code == 422
    assert {e["field"] for e in bad.json()["errors"]} == {"prompt", "width"}
    assert (await client.post(PREDICT, content=b"{")).status_code == 400

    # JSON in, the video's URL out; its credit comes back when its event arrives, which is nobody's here.
    answer = await client.post(PREDICT, json=CALL)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert decoded((await client.get(prediction["video_url"])).content) == (7, 64, 64)
    assert broker[1] == ["completed"]
    busy = await client.post(PREDICT, json=CALL)
    assert busy.status_code == 503
    assert int(busy.headers["retry-after"]) >= 1
    assert set(busy.json()) == {"error"}
    await free_the_credit(store)

    # A CloudEvent in, a CloudEvent out.
    attributes = {"id": "1", "source": "/test", "type": "test", "specversion": "1.0"}
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    binary = await client.post(PREDICT, json=CALL, headers=headers)
    assert binary.headers["ce-type"] == "io.kserve.inference.response"
    assert binary.json()["predictions"][0]["video_url"]
    await free_the_credit(store)
    structured = await client.post(
        PREDICT, content=json.dumps(attributes | {"data": CALL}), headers={"content-type": STRUCTURED}
    )
    assert structured.json()["data"]["predictions"][0]["video_url"]
    await free_the_credit(store)


async def test_nobody_unloads_the_one_model(fast_server: Server) -> None:
    await fast_server.answers(READY, 200)
    for path in ("models/mochi-1/unload", "models/mochi-1/load", "index"):
        assert (await fast_server.client.post(f"/v2/repository/{path}")).status_code == 404
    await fast_server.answers(READY, 200)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v2/models/mochi-1/infer", b'{"inputs": NaN}', "inputs"),
        ("/v2/models/mochi-1/infer", b'{"x": NaN, "y": "\\ud800"}', "inputs"),
        ("/v2/models/mochi-1/infer", b'{"inputs": [{"name": 1}]}', "name"),
        (PREDICT, b'{"instances": [{"prompt": "a", "\\ud800": 1}]}', "?"),
        (PREDICT, b'{"instances": ' + b"[" * 30_000, "body"),
        (PREDICT, b'{"instances": [{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}]}", "body"),
    ],
    ids=["NaN", "surrogate", "shape", "name", "nested", "digits"],
)
async def test_a_call_that_is_no_request_is_422_and_names_the_field(
    fast_server: Server, path: str, body: bytes, field: str
) -> None:
    await fast_server.answers(READY, 200)
    # Of JSON for v1 that is called so, KServe makes a 400 of its own; curl's form is left to us.
    media = "application/x-www-form-urlencoded" if path == PREDICT else "application/json"
    answer = await fast_server.client.post(path, content=body, headers={"content-type": media})
    assert (answer.status_code, "Error :" in answer.text) == (422, False), answer.text
    assert any(field in e["field"] for e in answer.json()["errors"]), answer.text


async def free_the_credit(store: JobStore) -> None:
    """Complete the newest job, as the completion function does on its event."""
    job = (await store.list_jobs(limit=1)).jobs[0]
    claimed = await store.claim(job.id, "test")
    assert isinstance(claimed, Answered)
    assert claimed.delivery.outcome is not None
    await store.complete(job.id, claimed.delivery.outcome)


async def test_events_that_mean_nothing_are_204_and_rubbish_is_400(fast_server: Server) -> None:
    await fast_server.answers(READY, 200)
    unknown = replace(make_job(), delivery=7)
    assert (await fast_server.events(unknown)).status_code == 204
    rubbish = await fast_server.client.post("/events", content=b"rubbish")
    assert rubbish.status_code == 400
    assert rubbish.headers["content-type"] == "application/problem+json"
    said = rubbish.json()["detail"]  # a Broker's answer is short: what is wrong with a field is in its detail
    assert all(field in said for field in ("specversion", "id", "source", "type")), said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MODEL_DIR": "/nothing"}, "MODEL_DIR=/nothing"),
        ({"SCRATCH_DIR": "/dev/null/x"}, "SCRATCH_DIR=/dev/null/x"),
        ({"REDIS_URL": "redis://:wrong@"}, "REDIS_URL"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_"),
        ({"PORT": "taken"}, "address already in use"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_keeps_it_from_starting_is_one_line_and_an_exit_code(
    settings: Settings, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    environment = environ(settings, tmp_path, free_port()) | {"MODEL_NAME": "none"} | change
    if environment["REDIS_URL"].endswith("@"):
        environment["REDIS_URL"] += settings.redis_url.rpartition("@")[2]
    with socket.socket() as taken, (tmp_path / "log").open("wb") as log:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if environment["PORT"] == "taken":
            environment["PORT"] = str(taken.getsockname()[1])
        process = await start(environment, log)
        assert await process.wait() != 0
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert words in line
    assert "wrong" not in line


async def test_a_wrong_setting_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = await start({"MOCHI_LEASE_SECONDS": "soon"}, log)
        assert await process.wait() == 1
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert "MOCHI_LEASE_SECONDS" in line


async def test_arguments_are_refused() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inference_service", "--http_port", "1", stderr=PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"no arguments" in errors
