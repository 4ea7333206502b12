"""A video through each door, fetched from outside the cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent

from mochi import Client, Job
from tests.cluster.system import System
from tests.cluster.videos import SMALL, fetched
from tests.cluster.waiting import until

pytestmark = [pytest.mark.core, pytest.mark.timeout(300)]

PATIENCE = 240.0  # a cold start on a busy machine is in it
MOCHI = Path(sys.executable).with_name("mochi")
FUNCTION = Path(__file__).resolve().parents[2] / "functions" / "submit"
FUNC = os.environ.get("FUNC") or shutil.which("func")
Convert: TypeAlias = Callable[[CloudEvent], tuple[dict[str, str], bytes]]
MODES = pytest.mark.parametrize("convert", [to_binary, to_structured], ids=["binary", "structured"])


def event(type_: str, prompt: str) -> CloudEvent:
    return CloudEvent({"type": type_, "source": "/tests/cluster"}, {**SMALL, "prompt": prompt})


def made(client: Client, prompt: str) -> Job | None:
    """The job of this prompt, if there is one."""
    return next((job for job in client.list(limit=20) if job.request.prompt == prompt), None)


def test_post_jobs(client: Client, tmp_path: Path) -> None:
    job = client.submit("a red circle", **SMALL)
    assert fetched(client, client.wait(job.id, timeout=PATIENCE), tmp_path)


@MODES
def test_a_cloudevent_to_submit(client: Client, system: System, tmp_path: Path, convert: Convert) -> None:
    headers, body = convert(event("com.example.wanted", prompt="a green triangle"))
    answers = [httpx.post(f"{system.url}/", content=body, headers=headers, timeout=60) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    (job_id,) = {answer.json()["job_id"] for answer in answers}
    assert answers[0].headers["ce-type"] == "dev.mochi.generation.accepted"
    assert fetched(client, client.wait(job_id, timeout=PATIENCE), tmp_path)


@MODES
def test_a_cloudevent_to_the_broker(client: Client, system: System, tmp_path: Path, convert: Convert) -> None:
    prompt = f"a white star, {uuid4().hex}"
    headers, body = convert(event("dev.mochi.generation.submitted", prompt=prompt))
    with system.broker() as url:
        answers = [httpx.post(url, headers=headers, content=body, timeout=30) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    job = until("submit makes a job of it", lambda: made(client, prompt), 60)
    assert fetched(client, client.wait(job.id, timeout=PATIENCE), tmp_path)
    assert [found.request.prompt for found in client.list(limit=20)].count(prompt) == 1


@pytest.mark.skipif(FUNC is None, reason="no `func`: neither FUNC names it nor is it on the PATH")
def test_func_invoke(client: Client, system: System, tmp_path: Path) -> None:
    prompt = f"a blue square, {uuid4().hex}"
    shutil.copy(FUNCTION / "func.yaml", tmp_path)
    said = run_outside(
        tmp_path,
        str(FUNC),
        *("invoke", "--target", system.url, "--content-type", "application/json"),
        *("--data", json.dumps({**SMALL, "prompt": prompt})),
    )
    job = made(client, prompt)
    assert job is not None, said
    assert job.id in said  # it prints what submit answers
    assert fetched(client, client.wait(job.id, timeout=PATIENCE), tmp_path)


def test_mochi_submit_wait(system: System, client: Client, tmp_path: Path) -> None:
    size = ["--width", "32", "--height", "32", "--num-frames", "7", "--steps", "2"]
    said = run_outside(
        tmp_path,
        str(MOCHI),
        *("--url", system.url, "submit", "a red star", *size, "--wait", "-o", "star.mp4", "--json"),
    )
    job = client.get(json.loads(said)["job_id"])
    assert job.status == "completed"
    assert job.video is not None
    assert (tmp_path / "star.mp4").stat().st_size == job.video.bytes
    assert fetched(client, job, tmp_path) == (tmp_path / "star.mp4").read_bytes()


def run_outside(folder: Path, *command: str) -> str:
    """What a program prints that runs beside the cluster."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
