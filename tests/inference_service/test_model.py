"""`:predict` and `infer` as KServe calls them, with a real Redis and a real S3 server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from eventing.events import TYPE_PREFIX
from inference_service.errors import InternalError, JobCancelled, JobFailed, JobGoesOn
from inference_service.model import MochiModel
from inference_service.pipeline import OutOfMemory, Progress
from inference_service.predict import Predictor
from jobs.errors import InvalidRequest, PoolBusy, StoreUnavailable
from jobs.job import Status
from jobs.request import VideoSpec
from jobs.store import Answered, Ignored, JobStore, Lease, NewJob, Submission
from tests.inference_service.rig import Rig, Scripted, real_time
from tests.inference_service.support import SPEC


@pytest.fixture
def model(rig: Rig) -> MochiModel:
    return MochiModel("mochi-1", rig.predictor, tuple(rig.settings.queues), 600)


def call(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return {"instances": [{"prompt": "a red circle"} | fields]}


async def test_a_call_is_answered_with_the_video(model: MochiModel) -> None:
    answer = await model.predict(call(seed=5))
    assert isinstance(answer, dict)
    (prediction,) = answer["predictions"]
    async with httpx.AsyncClient() as client:
        video = await client.get(prediction["video_url"])
        poster = await client.get(prediction["poster_url"])
    assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert (poster.status_code, poster.headers["content-type"]) == (200, "image/jpeg")
    assert prediction["job"]["status"] == "completed"
    assert prediction["job"]["request"]["seed"] == 5
    assert prediction["job"]["video"]["bytes"] == len(video.content)


async def test_its_end_is_an_event_like_any_jobs(rig: Rig, model: MochiModel) -> None:
    answer = await model.predict(call())
    assert isinstance(answer, dict)
    (event,) = rig.publisher.events
    assert event.type == f"{TYPE_PREFIX}completed"
    assert event.subject == answer["predictions"][0]["job"]["job_id"]


async def test_raw_json_without_a_content_type(model: MochiModel) -> None:
    answer = await model.predict(json.dumps(call()).encode())
    assert isinstance(answer, dict)
    assert answer["predictions"]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": [{"prompt": "a"}, {"prompt": "b"}]}, "instances"),
        ({"instances": {"prompt": "a"}}, "instances"),
        ([], "instances"),
        (b"no json", "body"),
        ({"instances": ["a prompt"]}, "body"),
        ({"instances": [{}]}, "prompt"),
        ({"instances": [{"prompt": "a", "width": 33}]}, "width"),
        ({"instances": [{"prompt": "a", "colour": "red"}]}, "colour"),
    ],
    ids=str,
)
async def test_a_bad_call_names_the_field(rig: Rig, model: MochiModel, payload: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await model.predict(payload)
    assert [e.field for e in raised.value.errors] == [field]
    assert (await rig.store.list_jobs()).jobs == ()


async def test_no_free_slot_is_busy_and_leaves_no_job(rig: Rig, model: MochiModel) -> None:
    job = await rig.submit()
    with pytest.raises(PoolBusy) as raised:
        await model.predict(call())
    assert raised.value.retry_after is not None
    assert [j.id for j in (await rig.store.list_jobs()).jobs] == [job.id]


@pytest.mark.parametrize("settings_changes", [{"pool_limit": 2}])
async def test_a_taken_gpu_is_busy_although_the_pool_has_a_credit(
    rig: Rig, pipeline: Scripted, model: MochiModel
) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    with pytest.raises(PoolBusy):
        await model.predict(call())
    assert [j.id for j in (await rig.store.list_jobs()).jobs] == [job.id]
    pipeline.go_on.set()
    await work


async def test_a_job_whose_call_fails_is_cancelled(rig: Rig) -> None:
    class Refusing(JobStore):
        async def claim(self, _job_id: str, _slot: str) -> Lease | Answered | Ignored:
            raise StoreUnavailable("away")

    store = Refusing.connect(rig.settings)
    model = MochiModel("mochi-1", Predictor(replace(rig.tools, store=store)), tuple(rig.settings.queues), 600)
    with pytest.raises(StoreUnavailable):
        await model.predict(call())
    (job,) = (await rig.store.list_jobs()).jobs
    assert job.status is Status.CANCELLED
    assert (await rig.store.stats()).credits == 0
    await store.close()


async def test_an_event_is_taken_for_what_it_carries(model: MochiModel) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/test", "type": "t", "data": call()}
    answer = await model.predict(event)
    assert isinstance(answer, dict)
    assert answer["predictions"]


async def test_a_failed_job_is_an_error_with_its_reason(
    rig: Rig, pipeline: Scripted, model: MochiModel
) -> None:
    def script(_spec: VideoSpec, _progress: Progress) -> None:
        raise OutOfMemory(SPEC)

    pipeline.script = script
    with pytest.raises(JobFailed, match="out_of_memory"):
        await model.predict(call())
    (event,) = rig.publisher.events
    assert event.type == f"{TYPE_PREFIX}failed"


async def test_a_cancelled_job_is_an_error(rig: Rig, pipeline: Scripted, model: MochiModel) -> None:
    pipeline.script = pipeline.step_forever
    waiting = asyncio.create_task(model.predict(call()))
    await asyncio.to_thread(pipeline.started.wait, 30)
    (job,) = (await rig.store.list_jobs()).jobs
    await rig.store.cancel(job.id)
    with pytest.raises(JobCancelled):
        await waiting


async def test_a_defect_shows_no_internals(rig: Rig) -> None:
    broken = MochiModel("mochi-1", rig.predictor, (), 600)  # no queues: resolve has none to choose
    with pytest.raises(InternalError, match="log") as raised:
        await broken.predict(call())
    assert raised.value.__cause__ is None


async def test_a_call_longer_than_a_slice_leaves_the_slot_to_its_job(rig: Rig, pipeline: Scripted) -> None:
    seconds = iter(range(0, 100_000, 10))
    rig.change(clock=lambda: float(next(seconds)), slice_seconds=200.0, keep=real_time(rig.settings))
    model = MochiModel("mochi-1", rig.predictor, tuple(rig.settings.queues), 600)
    with pytest.raises(JobGoesOn) as raised:
        await model.predict(call(num_inference_steps=8))
    (event,) = rig.publisher.events
    assert event.type == f"{TYPE_PREFIX}continued"
    job = await rig.store.get(event.subject)
    assert job.id in str(raised.value)
    # Its events finish it, as those of any job.
    replies = await rig.to_the_end(replace(job, delivery=int(event.extensions["delivery"])))
    assert (await rig.store.get(job.id)).status is Status.COMPLETED
    assert (len(replies), pipeline.steps) == (1, list(range(1, 9)))


async def test_a_job_that_is_cancelled_before_its_work_begins_is_cancelled(rig: Rig) -> None:
    class Cancelling(JobStore):
        async def claim(self, job_id: str, slot: str) -> Lease | Answered | Ignored:
            await rig.store.cancel(job_id)
            return await super().claim(job_id, slot)

    store = Cancelling.connect(rig.settings)
    model = MochiModel("mochi-1", Predictor(replace(rig.tools, store=store)), tuple(rig.settings.queues), 600)
    with pytest.raises(JobCancelled):
        await model.predict(call())
    await store.close()


@pytest.mark.parametrize("settings_changes", [{"pool_limit": 2}])
async def test_an_event_that_comes_first_leaves_no_job_of_a_call(
    rig: Rig, pipeline: Scripted, settings_changes: dict[str, Any]
) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit()
    events: list[asyncio.Task[Any]] = []

    class Slow(JobStore):
        async def submit_now(self, new: NewJob) -> Submission:
            submission = await super().submit_now(new)
            events.append(asyncio.create_task(rig.handle(job)))
            await asyncio.to_thread(pipeline.started.wait, 30)
            return submission

    store = Slow.connect(replace(rig.settings, **settings_changes))
    rig.change(store=store)
    model = MochiModel("mochi-1", rig.predictor, tuple(rig.settings.queues), 600)
    with pytest.raises(PoolBusy):
        await model.predict(call())
    (refused,) = [j for j in (await rig.store.list_jobs()).jobs if j.id != job.id]
    assert refused.status is Status.CANCELLED
    assert (await rig.store.stats()).credits == 1
    pipeline.go_on.set()
    await events[0]
    await rig.idle()
    await store.close()
