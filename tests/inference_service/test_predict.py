"""The predictor with a real Redis and a real S3 server; the pipelines are scripted."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import replace

import numpy as np
import pytest

from inference_service.lease_keeper import LeaseKeeper
from inference_service.pipeline import (
    Frames,
    InvalidFrames,
    Latents,
    OutOfMemory,
    PipelineFailed,
    Progress,
)
from inference_service.predict import Predictor
from jobs.errors import StoreUnavailable
from jobs.job import Delivery, EventKind, Job, JobError, Outcome, Phase, ResultKind, Status
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.store import Ignored, JobStore, Lease, Renewal
from tests.inference_service.rig import MakeRig, Rig, Script, Scripted
from tests.inference_service.support import SPEC


def error_of(reply: Delivery | None) -> JobError:
    assert reply is not None
    assert reply.kind is EventKind.FAILED
    assert reply.outcome is not None
    assert reply.outcome.error is not None
    return reply.outcome.error


async def test_a_job_becomes_a_video_and_a_poster(rig: Rig) -> None:
    job = await rig.submit()
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED
    assert reply.outcome is not None
    artifact = reply.outcome.artifact
    assert artifact is not None
    assert artifact.key == f"videos/{job.id}/1-{reply.outcome.token}/video.mp4"
    video, poster = rig.storage.head(artifact.key), rig.storage.head(artifact.poster_key)
    assert video is not None
    assert poster is not None
    assert (video.etag, video.bytes, video.s3_url) == (artifact.etag, artifact.bytes, artifact.s3_url)
    assert b"moov" in b"".join(rig.storage.read(artifact.key))
    assert await rig.files() == []


async def test_every_phase_is_recorded(rig: Rig) -> None:
    job = await rig.submit()
    reply = await rig.handle(job)
    assert reply is not None
    await rig.complete(reply)
    seen = [m.phase for m in (await rig.store.get(job.id)).milestones if m.status is Status.PROCESSING]
    wanted = [Phase.ENCODING_PROMPT, Phase.DENOISING, Phase.DECODING, Phase.ENCODING, Phase.UPLOADING]
    assert [p for p in seen if p in wanted] == wanted


async def test_the_same_event_again_gets_the_same_answer_and_no_work(rig: Rig, pipeline: Scripted) -> None:
    job = await rig.submit()
    first = await rig.handle(job)
    assert await rig.handle(job) == first
    assert len(pipeline.calls) == 1


async def test_nothing_to_say_about_an_unknown_job(rig: Rig, pipeline: Scripted) -> None:
    assert await rig.predictor.handle(uuid.uuid4().hex, 1) is None
    assert pipeline.calls == []


async def test_duplicates_join_the_job_at_work(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.wait
    job = await rig.submit()
    both = [asyncio.create_task(rig.handle(job)) for _ in range(2)]
    await asyncio.to_thread(pipeline.started.wait, 30)
    third = asyncio.create_task(rig.handle(job))
    await asyncio.sleep(0)  # the third has joined
    pipeline.go_on.set()
    replies = await asyncio.gather(*both, third)
    assert len(set(replies)) == 1
    assert replies[0] is not None
    assert len(pipeline.calls) == 1


async def test_who_comes_as_the_first_ends_with_nothing_to_say_asks_for_itself(
    rig: Rig, settings: Settings
) -> None:
    asked: list[asyncio.Task[Delivery | None]] = []

    class Nothing(JobStore):
        async def claim(self, job_id: str, slot: str) -> Ignored:  # noqa: ARG002  # the store's
            if not asked:  # it runs when the first is done, and before any callback of the first's
                asked.append(asyncio.create_task(rig.predictor.handle(job_id, 0)))
            return Ignored("leased")

    rig.change(store=Nothing.connect(settings))
    assert await rig.predictor.handle(uuid.uuid4().hex, 0) is None
    assert await asyncio.wait_for(asked[0], 30) is None
    await rig.tools.store.close()


@pytest.mark.parametrize("settings_changes", [{"pool_limit": 3}])
async def test_another_job_waits_for_the_gpu(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.wait
    jobs = [await rig.submit(replace(SPEC, seed=seed)) for seed in range(3)]
    work = [asyncio.create_task(rig.handle(job)) for job in jobs]
    await asyncio.to_thread(pipeline.started.wait, 30)
    pipeline.go_on.set()
    replies = await asyncio.gather(*work)
    assert all(reply is not None and reply.kind is EventKind.COMPLETED for reply in replies)
    assert [spec.seed for spec in pipeline.calls] == [0, 1, 2]
    assert pipeline.most_at_once == 1


def _raise(error: Exception) -> Script:
    def script(_spec: VideoSpec, _progress: Progress) -> None:
        raise error

    return script


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemory(SPEC), "out_of_memory"),
        (InvalidFrames("denoising"), "invalid_frames"),
        (PipelineFailed("RuntimeError"), "pipeline_error"),
        (RuntimeError("a defect, with a secret"), "pipeline_error"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failure_ends_the_job_and_the_next_one_runs(
    rig: Rig, pipeline: Scripted, error: Exception, code: str
) -> None:
    first, second = await rig.submit(), await rig.submit()
    pipeline.script = _raise(error)
    reply = await rig.handle(first)
    reason = error_of(reply)
    assert reason.code == code
    assert reason.message
    assert "secret" not in reason.message
    assert reply is not None
    (requested,) = await rig.complete(reply)
    assert (requested.job_id, requested.kind) == (second.id, EventKind.REQUESTED)
    assert (await rig.store.get(first.id)).error == reason
    pipeline.script = lambda _spec, _progress: None
    reply = await rig.handle(second)
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED
    await rig.complete(reply)
    assert (await rig.store.stats()).credits == 0


async def test_frames_that_cannot_be_encoded_fail_the_job(make_rig: MakeRig) -> None:
    class Odd(Scripted):
        def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
            super().decode(spec, latents, progress)
            return np.zeros((7, 33, 33, 3), np.uint8)

    rig = make_rig(Odd())
    assert error_of(await rig.handle(await rig.submit())).code == "pipeline_error"
    assert await rig.files() == []


async def test_a_job_that_the_model_cannot_do_names_the_field(rig: Rig, pipeline: Scripted) -> None:
    reason = error_of(await rig.handle(await rig.submit(replace(SPEC, num_inference_steps=64, width=848))))
    assert reason.code == "unsupported_request"
    assert "width: 848" in reason.message
    assert pipeline.calls == []


async def test_a_cancelled_job_stops_at_the_next_step(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.step_forever
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    await rig.store.cancel(job.id)
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CANCELLED
    assert reply.outcome == Outcome(ResultKind.CANCELLED, reply.outcome.token if reply.outcome else "")


async def test_a_deadline_ends_the_work(rig: Rig, pipeline: Scripted) -> None:
    pipeline.script = pipeline.step_forever
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    job = await rig.submit(replace(SPEC, deadline=soon))
    assert error_of(await rig.handle(job)).code == "deadline_exceeded"


class Gate:
    """A lease's store that can be away, before the real one."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.open = threading.Event()

    async def renew(self, lease: Lease, phase: Phase, step: int) -> Renewal:
        if not self.open.is_set():
            raise StoreUnavailable("away")
        return await self.store.renew(lease, phase, step)

    async def close(self) -> None:
        await self.store.close()


@pytest.mark.parametrize("settings_changes", [{"lease_seconds": 1}])
async def test_a_lost_lease_records_nothing(rig: Rig, pipeline: Scripted) -> None:
    gate: list[Gate] = []

    def connect() -> Gate:
        gate.append(Gate(JobStore.connect(rig.settings)))
        return gate[0]

    rig.predictor = Predictor(
        replace(rig.tools, keep=lambda lease, claimed_at: LeaseKeeper(lease, connect, claimed_at))
    )
    pipeline.script = pipeline.step_forever
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    thief = await _claim_when_it_ran_out(rig.store, job)
    gate[0].open.set()
    assert await work is None
    now = await rig.store.get(job.id)
    assert (now.status, now.attempt) == (Status.PROCESSING, thief.attempt)
    assert await rig.store.record(thief, Outcome(ResultKind.CANCELLED, thief.token)) is not None
    assert await rig.files() == []


async def _claim_when_it_ran_out(store: JobStore, job: Job) -> Lease:
    while True:
        claim = await store.claim(job.id, "thief")
        if isinstance(claim, Lease):
            return claim
        await asyncio.sleep(0.1)
