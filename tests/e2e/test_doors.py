"""Every way in: the CloudEvents SDK's own client to submit and to the broker, and KServe's `:predict`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent

from mochi import Client, Job
from tests.e2e.system import System
from tests.eventing.specification import violations

DATA: dict[str, Any] = {
    "prompt": "a green triangle",
    "width": 32,
    "height": 32,
    "num_frames": 7,
    "num_inference_steps": 2,
}
Convert: TypeAlias = Callable[[CloudEvent], tuple[dict[str, str], bytes]]
MODES = pytest.mark.parametrize("convert", [to_binary, to_structured], ids=["binary", "structured"])


def event(type_: str = "com.example.video.wanted") -> CloudEvent:
    return CloudEvent({"type": type_, "source": "/tests/e2e"}, dict(DATA))


@MODES
def test_a_cloudevent_to_submit_makes_one_job_however_often(
    client: Client, system: System, convert: Convert
) -> None:
    headers, body = convert(event())
    answers = [httpx.post(f"{system.url}/", headers=headers, content=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    (job_id,) = {answer.json()["job_id"] for answer in answers}
    accepted = answers[0]
    assert accepted.headers["ce-type"] == "dev.mochi.generation.accepted"
    assert accepted.headers["ce-subject"] == job_id
    assert violations(dict(accepted.headers), accepted.content) == []
    assert client.wait(job_id, timeout=60).request.prompt == "a green triangle"


@MODES
def test_a_cloudevent_to_the_broker_is_brought_to_submit(
    client: Client, system: System, convert: Convert
) -> None:
    wanted = event("dev.mochi.generation.submitted")
    wanted.data["prompt"] = prompt = f"a white star, {wanted['id']}"
    headers, body = convert(wanted)
    answer = httpx.post(f"{system.address('broker')}/video/default", headers=headers, content=body)
    assert (answer.status_code, answer.content) == (202, b"")
    jobs: list[Job] = []
    deadline = time.monotonic() + 30
    while not jobs and time.monotonic() < deadline:
        jobs = [job for job in client.list(limit=10) if job.request.prompt == prompt]
        time.sleep(0.05)  # the event is on its way through other processes
    assert len(jobs) == 1
    client.wait(jobs[0].id, timeout=60)


def test_predict_answers_at_the_end_of_its_job(client: Client, system: System) -> None:
    url = f"{system.address('predictor')}/v1/models/mochi-1:predict"
    answer = httpx.post(url, json={"instances": [DATA]}, timeout=60)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert httpx.get(prediction["video_url"]).headers["content-type"] == "video/mp4"
    job = client.wait(prediction["job"]["job_id"], timeout=60)
    assert job.request.prompt == "a green triangle"


def test_predict_never_waits_for_a_busy_gpu(client: Client, system: System) -> None:
    busy = client.submit(**{**DATA, "num_frames": 61, "num_inference_steps": 200})
    next(e for e in client.watch(busy.id) if e.phase == "denoising")
    url = f"{system.address('predictor')}/v1/models/mochi-1:predict"
    answer = httpx.post(url, json={"instances": [DATA]}, timeout=60)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    client.cancel(busy.id)
    assert list(client.watch(busy.id))[-1].status == "cancelled"
