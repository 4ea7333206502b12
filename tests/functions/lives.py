"""Brings jobs through their lives with the store, as a predictor does."""

from __future__ import annotations

from uuid import uuid4

from jobs.job import Artifact, Job, JobError, Outcome, Phase, ResultKind
from jobs.request import VideoSpec
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import JobStore, Lease, NewJob
from tests.functions.values import SPEC

__all__ = ["VIDEO", "claimed", "completed", "failed", "finish", "given", "outcome_with_video"]

VIDEO = bytes(range(256)) * 4096  # 1 MiB: more than one chunk


async def given(store: JobStore, spec: VideoSpec = SPEC) -> Job:
    """A new job."""
    return (await store.submit(NewJob(uuid4().hex, spec, estimate_seconds=5.0))).job


async def claimed(store: JobStore, job_id: str) -> Lease:
    """The job at work."""
    lease = await store.claim(job_id, "slot-0")
    assert isinstance(lease, Lease), lease
    return lease


async def step(store: JobStore, lease: Lease, step: int) -> None:
    """The job at a denoising step."""
    await store.renew(lease, Phase.DENOISING, step)


def outcome_with_video(
    lease: Lease, settings: Settings, storage: VideoStorage | None = None, size: int | None = None
) -> Outcome:
    """A completed outcome; the video is in `storage`, where one is given."""
    key = f"videos/{lease.job.id}/{lease.attempt}-{lease.token}/video.mp4"
    etag = storage.put(key, VIDEO, "video/mp4").etag if storage else "0123456789abcdef"
    artifact = Artifact(key, f"s3://{settings.aws_s3_bucket}/{key}", etag, size or len(VIDEO))
    return Outcome(ResultKind.COMPLETED, lease.token, artifact)


def failed(lease: Lease) -> Outcome:
    """An outcome that a person understands."""
    return Outcome(ResultKind.FAILED, lease.token, error=JobError("out_of_memory", "too large for this GPU"))


async def finish(store: JobStore, lease: Lease, outcome: Outcome) -> Job:
    """The job, ended with the outcome."""
    assert await store.record(lease, outcome)
    await store.complete(lease.job.id, outcome)
    return await store.get(lease.job.id)


async def completed(store: JobStore, settings: Settings, storage: VideoStorage | None = None) -> Job:
    """A job of its own, with a video."""
    job = await given(store)
    lease = await claimed(store, job.id)
    return await finish(store, lease, outcome_with_video(lease, settings, storage))
