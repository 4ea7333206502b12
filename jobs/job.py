"""What a job is: frozen values, and no I/O.

Times are Redis' clock in microseconds since the epoch (`*_us`) inside the system, and RFC 3339 in
everything that a person reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from jobs.request import VideoSpec

__all__ = [
    "Artifact",
    "Attempt",
    "Change",
    "Delivery",
    "EventKind",
    "Job",
    "JobError",
    "Milestone",
    "Outcome",
    "Page",
    "Phase",
    "ResultKind",
    "Status",
    "rfc3339",
]


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


class Phase(StrEnum):
    """What a job that has not ended is doing."""

    WAITING = "waiting"  # in the backlog of its queue
    STARTING = "starting"  # admitted: on its way to a GPU, or a pod is coming up
    ENCODING_PROMPT = "encoding_prompt"
    DENOISING = "denoising"  # step k of n
    DECODING = "decoding"
    ENCODING = "encoding"
    UPLOADING = "uploading"


class ResultKind(StrEnum):
    """How the work on a job ended. The values are those of the terminal statuses."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """The last word of the type of an event about a job: `dev.mochi.generation.{kind}`."""

    REQUESTED = "requested"  # a GPU is wanted
    CONTINUED = "continued"  # a slice ended; a GPU is wanted for the next
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def rfc3339(time_us: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC, e.g. 2026-01-02T03:04:05.000006Z."""
    seconds, micros = divmod(time_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Artifact:
    """A video in the object store, with the poster image beside it."""

    key: str  # videos/{job}/{attempt}-{token}/video.mp4
    s3_url: str  # s3://{bucket}/{key}
    etag: str  # as the store returned it, without quotes
    bytes: int  # size of the video
    poster_key: str = ""  # …/poster.jpg


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code for programs and a sentence for people."""

    code: str  # e.g. out_of_memory, invalid_frames, pipeline_error, deadline_exceeded
    message: str


@dataclass(frozen=True)
class Outcome:
    """What came out of the work on a job, as recorded under its lease and carried by its event."""

    kind: ResultKind
    token: str = ""  # of the lease that did the work; empty where no lease did
    artifact: Artifact | None = None  # completed only
    error: JobError | None = None  # failed only


@dataclass(frozen=True)
class Delivery:
    """An event about a job that is to be published (or replied).

    `delivery` is also the event's time in microseconds, and its id is `{job}:{kind}:{delivery}`: the
    same when the same fact is sent again, new whenever it means something new.
    """

    kind: EventKind
    job_id: str
    queue: str
    delivery: int
    attempt: int
    traceparent: str = ""
    outcome: Outcome | None = None  # of a terminal event

    @property
    def event_id(self) -> str:
        """The CloudEvent's id."""
        return f"{self.job_id}:{self.kind}:{self.delivery}"


@dataclass(frozen=True)
class Milestone:
    """A change of status or phase, kept so that a watcher who was away sees it all the same."""

    version: int
    at_us: int
    status: Status
    phase: Phase | None
    attempt: int


@dataclass(frozen=True)
class Attempt:
    """The work of one lease, kept so that a person sees why a job took long."""

    attempt: int
    slot: str  # who worked: host and GPU
    started_us: int
    ended_us: int | None  # None while it works; for one that was lost, the end of its lease
    first_step: int  # denoising steps that were done when it began: those of its checkpoint
    last_step: int  # steps done when it ended, or so far
    ended: str  # completed, failed, cancelled, continued (yielded), lost; empty while it works

    def public(self) -> dict[str, Any]:
        """As the HTTP API shows it (JSON types only)."""
        return {
            "attempt": self.attempt,
            "slot": self.slot,
            "started_at": rfc3339(self.started_us),
            "ended_at": None if self.ended_us is None else rfc3339(self.ended_us),
            "first_step": self.first_step,
            "last_step": self.last_step,
            "ended": self.ended,
        }


@dataclass(frozen=True)
class Job:
    """A snapshot of a job's record."""

    id: str
    status: Status
    phase: Phase | None  # None once the job has ended
    queue: str
    seq: int  # its place in its queue, drawn once; also the order of creation
    spec: VideoSpec
    version: int  # grows with every change that a watcher can see; the id of its SSE event
    created_us: int
    updated_us: int
    started_us: int | None = None  # the first claim
    finished_us: int | None = None
    attempt: int = 0  # leases so far
    delivery: int = 0  # of its newest event
    step: int = 0  # denoising steps done
    position: int | None = None  # jobs of its queue before it, while it waits
    eta_seconds: float | None = None  # until it starts, from the measured rate; while it waits
    cancel_requested: bool = False
    artifact: Artifact | None = None
    error: JobError | None = None
    traceparent: str = ""
    milestones: tuple[Milestone, ...] = field(default=())  # oldest first, the newest 64
    attempts: tuple[Attempt, ...] = field(default=())  # oldest first, the newest 32

    @property
    def progress(self) -> float:
        """Share of the denoising steps that are done, 0 to 1; 1 once completed."""
        if self.status is Status.COMPLETED:
            return 1.0
        return self.step / self.spec.num_inference_steps

    def public(self) -> dict[str, Any]:
        """The job as the HTTP API, SSE and `dev.mochi.generation.accepted` show it (JSON types only)."""
        return {
            "job_id": self.id,
            "status": str(self.status),
            "phase": str(self.phase) if self.phase else None,
            "queue": self.queue,
            "position": self.position,
            "eta_seconds": self.eta_seconds,
            "progress": round(self.progress, 4),
            "step": self.step,
            "steps": self.spec.num_inference_steps,
            "attempt": self.attempt,
            "cancel_requested": self.cancel_requested,
            "created_at": rfc3339(self.created_us),
            "updated_at": rfc3339(self.updated_us),
            "started_at": rfc3339(self.started_us) if self.started_us else None,
            "finished_at": rfc3339(self.finished_us) if self.finished_us else None,
            "video": {
                "s3_url": self.artifact.s3_url,
                "etag": self.artifact.etag,
                "bytes": self.artifact.bytes,
            }
            if self.artifact
            else None,
            "error": {"code": self.error.code, "message": self.error.message} if self.error else None,
            "request": self.spec.public(),
            "milestones": [
                {
                    "at": rfc3339(m.at_us),
                    "status": str(m.status),
                    "phase": str(m.phase) if m.phase else None,
                    "attempt": m.attempt,
                }
                for m in self.milestones
            ],
            "attempts": [attempt.public() for attempt in self.attempts],
            "version": self.version,
        }


@dataclass(frozen=True)
class Change:
    """One thing that a watcher of a job sees: a milestone, or progress within a phase."""

    version: int  # the id of its SSE event
    at_us: int
    status: Status
    phase: Phase | None
    attempt: int
    step: int
    job: Job  # the record as it was when the change was read; newer than the change after a resume


@dataclass(frozen=True)
class Page:
    """One page of a listing, newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
