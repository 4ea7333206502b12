"""Jobs and changes made up for tests that need no store."""

from __future__ import annotations

from dataclasses import replace

from jobs.job import Artifact, Attempt, Change, Job, JobError, Milestone, Phase, Status
from tests.specs import spec

JOB_ID = "0" * 31 + "1"
T0 = 1_767_323_045_000_006  # 2026-01-02T03:04:05.000006Z

SPEC = spec(
    width=848, height=480, num_inference_steps=24, guidance_scale=4.5, seed=1, deadline="2030-01-01T00:00:00Z"
)

WAITING = Job(
    id=JOB_ID,
    status=Status.PENDING,
    phase=Phase.WAITING,
    queue="short-low",
    seq=1,
    spec=SPEC,
    version=1,
    created_us=T0,
    updated_us=T0,
    position=0,
    eta_seconds=1.5,
    milestones=(Milestone(1, T0, Status.PENDING, Phase.WAITING, 0),),
)
AT_WORK = replace(
    WAITING,
    status=Status.PROCESSING,
    phase=Phase.DENOISING,
    version=5,
    step=6,
    attempt=1,
    started_us=T0 + 1,
    position=None,
    eta_seconds=None,
    milestones=(*WAITING.milestones, Milestone(4, T0 + 1, Status.PROCESSING, Phase.DENOISING, 1)),
    attempts=(Attempt(1, "gpu-host:7", T0 + 1, None, 0, 6, ""),),
)
COMPLETED = replace(
    AT_WORK,
    status=Status.COMPLETED,
    phase=None,
    version=9,
    step=24,
    finished_us=T0 + 2,
    attempts=(Attempt(1, "gpu-host:7", T0 + 1, T0 + 2, 0, 24, "completed"),),
    artifact=Artifact(
        f"videos/{JOB_ID}/1-abc/video.mp4", f"s3://videos/videos/{JOB_ID}/1-abc/video.mp4", "e", 9
    ),
)
FAILED = replace(COMPLETED, status=Status.FAILED, artifact=None, error=JobError("out_of_memory", "too large"))


def change(job: Job, version: int | None = None) -> Change:
    """The change that made `job` what it is."""
    return Change(version or job.version, job.updated_us, job.status, job.phase, job.attempt, job.step, job)
