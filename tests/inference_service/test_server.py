"""The whole process, `python -m inference_service`, over HTTP: with the tiny model, Redis and S3."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO

import av
import httpx
import pytest

from eventing.events import TYPE_PREFIX
from jobs.job import Job, Phase, Status
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import JobStore, NewJob
from tests.inference_service.rig import until
from tests.inference_service.support import SPEC

READY = "/v2/models/mochi-1/ready"


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


async def start(environ: dict[str, str], log: IO[bytes]) -> Process:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inference_service", env=inherited | environ, stdout=log, stderr=log
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


@pytest.fixture
async def server(settings: Settings, model_scratch: Path, tmp_path: Path) -> AsyncIterator[Server]:
    port = free_port()
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        process = await start(environ(settings, model_scratch, port), output)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield Server(process, client, log)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def submit(store: JobStore, **changes: int) -> Job:
    spec = replace(SPEC, **changes)  # type: ignore[arg-type]  # fields that are integers
    return (await store.submit(NewJob(uuid.uuid4().hex, spec, 1.0))).job


def decoded(video: bytes) -> tuple[int, int, int]:
    """Frames, width and height."""
    with av.open(BytesIO(video), "r") as container:
        frames = list(container.decode(video=0))
    return len(frames), frames[0].width, frames[0].height


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

    # KServe's own routes.
    bad = await server.client.post("/v1/models/mochi-1:predict", json={"instances": [{"width": 33}]})
    assert bad.status_code == 422
    assert {e["field"] for e in bad.json()["errors"]} == {"prompt", "width"}
    body = {"prompt": "a red circle", "num_frames": 7, "num_inference_steps": 2}
    busy = await server.client.post("/v1/models/mochi-1:predict", json={"instances": [body]})
    assert busy.status_code == 503, "the first job's credit is not back before its event is handled"
    assert int(busy.headers["retry-after"]) >= 1
    await store.reap(job.id)  # not due yet
    outcome = (await server.events(job)).json()
    assert outcome["video"]["key"] == key, "the same answer again"
    metrics = (await server.client.get("/metrics")).text
    assert 'mochi_predictor_jobs_total{outcome="completed"} 1.0' in metrics
    assert 'mochi_phase_seconds_count{phase="denoising"} 1.0' in metrics

    # SIGTERM, in the middle of a long job: it ends, and leaves the job to the reaper.
    await _complete(store, server, job)
    long = await submit(store, width=128, height=128, num_frames=61, num_inference_steps=200)
    waiting = asyncio.create_task(server.events(long))

    async def denoising() -> bool:
        return (await store.get(long.id)).step > 0

    await until(denoising)
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await server.process.wait() == 0
    with contextlib.suppress(httpx.TransportError):
        await waiting
    now = await store.get(long.id)
    assert (now.status, now.phase) == (Status.PROCESSING, Phase.DENOISING)
    assert "Traceback" not in server.log.read_text("utf-8")


async def _complete(store: JobStore, server: Server, job: Job) -> None:
    from eventing.codec import decode
    from eventing.events import outcome_of

    answer = await server.events(job)
    await store.complete(job.id, outcome_of(decode(dict(answer.headers), answer.content)))


@pytest.mark.timeout(240)
async def test_a_call_to_predict(server: Server, store: JobStore) -> None:
    await server.answers(READY, 200)
    body = {"prompt": "a red circle", "num_frames": 7, "num_inference_steps": 2}
    answer = await server.client.post("/v1/models/mochi-1:predict", json={"instances": [body]})
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    video = await server.client.get(prediction["video_url"])
    assert decoded(video.content) == (7, 64, 64)
    assert (await store.get(prediction["job"]["job_id"])).status is Status.PROCESSING, "no Broker here"


async def test_a_model_that_cannot_be_loaded_is_one_line_and_exit_code_1(
    settings: Settings, tmp_path: Path
) -> None:
    missing = {"MODEL_DIR": str(tmp_path / "nothing"), "MOCHI_LOG_FORMAT": "console"}
    with (tmp_path / "log").open("wb") as log:
        process = await start(environ(settings, tmp_path, free_port()) | missing, log)
        assert await process.wait() == 1
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert "MODEL_DIR=" in line


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
