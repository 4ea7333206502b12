"""What the HTTP API answers, as frozen values. No I/O, and nothing of the server's code.

Parsing is liberal: fields that this version does not know are kept in `raw`, unknown phases pass
through, and what is absent gets the default of its field. What is present must have the right type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from mochi.errors import UnexpectedAnswer
from mochi.reading import Fields

__all__ = ["Attempt", "Event", "Job", "JobError", "Milestone", "Page", "Spec", "Status", "Video"]


class Status(StrEnum):
    """pending → processing → completed | failed | cancelled. Terminal is final."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a job with this status has ended."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True)
class Video:
    """The video of a completed job, as the object store knows it."""

    s3_url: str  # s3://{bucket}/{key}
    etag: str  # without quotes
    bytes: int

    @classmethod
    def parse(cls, data: Fields) -> Self:
        """From the `video` of a job."""
        return cls(s3_url=data.text("s3_url", ""), etag=data.text("etag", ""), bytes=data.integer("bytes"))


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code for programs and a sentence for people."""

    code: str
    message: str

    @classmethod
    def parse(cls, data: Fields) -> Self:
        """From the `error` of a job."""
        return cls(code=data.text("code", ""), message=data.text("message", ""))


@dataclass(frozen=True)
class Spec:
    """What is (or was) made: the request with every default filled in. Sizes in pixels."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    queue: str
    deadline: datetime | None

    @property
    def duration_seconds(self) -> float:
        """Length of the video."""
        return self.num_frames / self.fps if self.fps else 0.0

    @classmethod
    def parse(cls, data: Fields) -> Self:
        """From the `request` of a job."""
        return cls(
            prompt=data.text("prompt", ""),
            negative_prompt=data.text("negative_prompt", ""),
            width=data.integer("width", 0),
            height=data.integer("height", 0),
            num_frames=data.integer("num_frames", 0),
            fps=data.integer("fps", 0),
            num_inference_steps=data.integer("num_inference_steps", 0),
            guidance_scale=data.number("guidance_scale", 0.0),
            seed=data.integer("seed", 0),
            queue=data.text("queue", ""),
            deadline=data.time("deadline"),
        )


@dataclass(frozen=True)
class Milestone:
    """A change of a job's status or phase."""

    at: datetime | None
    status: str
    phase: str | None
    attempt: int

    @classmethod
    def parse(cls, data: Fields) -> Self:
        """From one of the `milestones` of a job."""
        return cls(
            at=data.time("at"),
            status=data.text("status"),
            phase=data.optional_text("phase"),
            attempt=data.integer("attempt", 0),
        )


@dataclass(frozen=True)
class Attempt:
    """The work of one lease on a GPU."""

    attempt: int
    slot: str  # who worked: host and GPU
    started_at: datetime | None
    ended_at: datetime | None  # None while it works; of one that was lost, the end of its lease
    first_step: int  # denoising steps done when it began: those of its checkpoint
    last_step: int  # denoising steps done when it ended, or so far
    ended: str  # why: completed, failed, cancelled, continued, lost; empty while it works

    @classmethod
    def parse(cls, data: Fields) -> Self:
        """From one of the `attempts` of a job."""
        return cls(
            attempt=data.integer("attempt", 0),
            slot=data.text("slot", ""),
            started_at=data.time("started_at"),
            ended_at=data.time("ended_at"),
            first_step=data.integer("first_step", 0),
            last_step=data.integer("last_step", 0),
            ended=data.text("ended", ""),
        )


@dataclass(frozen=True)
class Job:
    """A job as the server saw it when it answered. Times are aware, in UTC."""

    id: str
    status: Status
    phase: str | None  # what a job that has not ended is doing
    queue: str
    position: int | None  # jobs of its queue before it, while it waits
    eta_seconds: float | None  # until it starts, while it waits
    progress: float  # 0 to 1
    step: int  # denoising steps done
    steps: int  # of so many
    attempt: int
    cancel_requested: bool
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    video: Video | None  # completed only
    error: JobError | None  # failed only
    request: Spec
    milestones: tuple[Milestone, ...]  # oldest first
    attempts: tuple[Attempt, ...]  # oldest first; empty where the server keeps none
    version: int  # grows with every change
    raw: Mapping[str, Any] = field(repr=False, compare=False)  # the JSON object as it came

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status.terminal

    @classmethod
    def parse(cls, data: object) -> Self:
        """From decoded JSON. Raises UnexpectedAnswer, which names the field."""
        job = Fields.of(data, "the job")
        video, error = job.inner("video"), job.inner("error")
        return cls(
            id=job.text("job_id"),
            status=_status(job),
            phase=job.optional_text("phase"),
            queue=job.text("queue", ""),
            position=job.optional_integer("position"),
            eta_seconds=job.optional_number("eta_seconds"),
            progress=job.number("progress", 0.0),
            step=job.integer("step", 0),
            steps=job.integer("steps", 0),
            attempt=job.integer("attempt", 0),
            cancel_requested=job.flag("cancel_requested"),
            created_at=job.time("created_at"),
            updated_at=job.time("updated_at"),
            started_at=job.time("started_at"),
            finished_at=job.time("finished_at"),
            video=Video.parse(video) if video else None,
            error=JobError.parse(error) if error else None,
            request=Spec.parse(job.inner("request") or Fields({}, "request")),
            milestones=tuple(Milestone.parse(m) for m in job.many("milestones")),
            attempts=tuple(Attempt.parse(a) for a in job.many("attempts")),
            version=job.integer("version", 0),
            raw=job.data,
        )


@dataclass(frozen=True)
class Page:
    """One page of a listing, newest first. `next_cursor` is None on the last one."""

    jobs: tuple[Job, ...]
    next_cursor: str | None

    @classmethod
    def parse(cls, data: object) -> Self:
        """From decoded JSON. Raises UnexpectedAnswer."""
        page = Fields.of(data, "the page")
        if "jobs" not in page.data:
            raise UnexpectedAnswer("the page has no field 'jobs'")
        return cls(
            jobs=tuple(Job.parse(job.data) for job in page.many("jobs")),
            next_cursor=page.optional_text("next_cursor"),
        )


@dataclass(frozen=True)
class Event:
    """One change of a job, as its event stream tells it. `job` comes with the last one."""

    id: str  # what `Last-Event-ID` resumes after
    job_id: str
    status: Status
    phase: str | None
    attempt: int
    step: int
    steps: int
    progress: float  # 0 to 1
    at: datetime | None
    job: Job | None  # the whole job, once it has ended
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, event_id: str, data: object) -> Self:
        """From the decoded data of a server-sent event. Raises UnexpectedAnswer."""
        change = Fields.of(data, "the event")
        status = _status(change)
        return cls(
            id=event_id,
            job_id=change.text("job_id"),
            status=status,
            phase=change.optional_text("phase"),
            attempt=change.integer("attempt", 0),
            step=change.integer("step", 0),
            steps=change.integer("steps", 0),
            progress=change.number("progress", 0.0),
            at=change.time("at") or change.time("updated_at"),
            job=Job.parse(data) if status.terminal and "request" in change.data else None,
            raw=change.data,
        )


def _status(data: Fields) -> Status:
    text = data.text("status")
    try:
        return Status(text)
    except ValueError:
        raise UnexpectedAnswer(f"{data.what} has an unknown status: {text[:40]!r}") from None
