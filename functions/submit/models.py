"""The shapes of the HTTP API's answers, for the OpenAPI document. Nothing is validated with them at work.

A test holds them to what the handlers send (`Job.public()` and the problem documents).
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from jobs.job import Phase, Status
from jobs.job_ids import JOB_ID_PATTERN, JOB_ID_RULE

__all__ = ["Change", "Download", "Health", "Job", "Page", "Problem"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Video(_Model):
    """A video in the object store."""

    s3_url: str = Field(description="`s3://{bucket}/{key}`.")
    etag: str = Field(description="Without quotes.")
    bytes: int = Field(description="Size of the video.")


class JobError(_Model):
    """Why a job failed."""

    code: str = Field(description="For programs, e.g. `out_of_memory`.")
    message: str = Field(description="For people.")


class Milestone(_Model):
    """A change of status or phase."""

    at: datetime
    status: Status
    phase: Phase | None
    attempt: int


class Attempt(_Model):
    """The work of one lease on a GPU."""

    attempt: int
    slot: str = Field(description="Who worked: host (on a cluster the pod) and process id.")
    started_at: datetime
    ended_at: datetime | None = Field(description="Null while it works; of a lost one, its lease's end.")
    first_step: int = Field(description="Denoising steps done when it began: those of its checkpoint.")
    last_step: int = Field(description="Denoising steps done when it ended, or so far.")
    ended: str = Field(
        description="Why: `completed`, `failed`, `cancelled`, `continued` (its slice was over) or `lost`; "
        "empty while it works."
    )


class Spec(_Model):
    """The request with nothing left open."""

    prompt: str
    negative_prompt: str
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    num_frames: int
    fps: int = Field(description="Frames a second.")
    num_inference_steps: int
    guidance_scale: float
    seed: int
    queue: str
    deadline: datetime | None


class Job(_Model):
    """A job: one request for one video."""

    job_id: str = Field(description=f"{JOB_ID_RULE}.", pattern=f"^{JOB_ID_PATTERN}$")
    status: Status
    phase: Phase | None = Field(description="What it is doing; null once it has ended.")
    queue: str
    position: int | None = Field(description="Jobs of its queue before it, while it waits.")
    eta_seconds: float | None = Field(description="Until it starts, while it waits.")
    progress: float = Field(ge=0, le=1, description="Share of the denoising steps that are done.")
    step: int = Field(description="Denoising steps done.")
    steps: int = Field(description="Denoising steps in all.")
    attempt: int = Field(description="How often a GPU has begun to work on it.")
    cancel_requested: bool
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    video: Video | None = Field(description="Of a completed job.")
    error: JobError | None = Field(description="Of a failed job.")
    request: Spec
    milestones: list[Milestone] = Field(description="Oldest first, the newest 64.")
    attempts: list[Attempt] = Field(description="Oldest first, the newest 32.")
    version: int = Field(description="Grows with every change; the `id` of its server-sent event.")


class Page(_Model):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Change(_Model):
    """Data of the server-sent events `status` and `progress`."""

    job_id: str
    status: Status
    phase: Phase | None
    attempt: int
    step: int
    steps: int
    progress: float
    at: datetime


class Download(_Model):
    """A URL that gets the video without credentials."""

    job_id: str
    url: str
    expires_in: int = Field(description="Seconds.")


class Health(_Model):
    """The process, or what it needs, is well."""

    status: str
    warnings: list[str] = Field(
        default=[], description="In what way the job store may lose jobs, as it is configured; mostly absent."
    )


class FieldProblem(_Model):
    """One wrong field."""

    field: str
    problem: str
    allowed: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`/problems/{name}` for programs, or `about:blank`.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = Field(None, description="Every wrong field, where fields are.")
    job_id: str | None = None
    job_status: Status | None = Field(None, description="Why the job cannot do what was asked of it.")
