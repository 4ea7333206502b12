"""Every error that the client raises on purpose, in one tree.

MochiClientError
├── InvalidArgument    an argument or setting cannot be sent at all: nothing was asked
├── ApiError           the server answered with an error; `problem` is what it said
│   ├── BadRequest     400, 413, 415, 422 and any other 4xx
│   ├── NotFound       404, 410  no such job, or its video is gone
│   ├── Conflict       409  the job's status does not allow it
│   │   ├── NotReady        the job has no video (yet)
│   │   └── CannotCancel    the job has ended, or its result is being recorded
│   └── Unavailable    429 and 5xx, after the client's own retries
├── Unreachable        no answer, after the client's own retries
├── UnexpectedAnswer   what came is no answer of this API
├── JobFailed          the job that was waited for failed; `job` says why
├── JobCancelled       the job that was waited for was cancelled
├── DownloadFailed     the video did not arrive whole; what did arrive is kept where it can be resumed
└── Timeout            the time that the caller gave is over; the job goes on

Messages hold no credentials: URLs are shown without them and without their query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mochi.models import Job

__all__ = [
    "ApiError",
    "BadRequest",
    "CannotCancel",
    "Conflict",
    "DownloadFailed",
    "FieldProblem",
    "InvalidArgument",
    "JobCancelled",
    "JobFailed",
    "MochiClientError",
    "NotFound",
    "NotReady",
    "Problem",
    "Timeout",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field: its name, what is wrong with it and what is allowed."""

    field: str
    problem: str
    allowed: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" + (f" (allowed: {self.allowed})" if self.allowed else "")


@dataclass(frozen=True)
class Problem:
    """A problem document (RFC 9457), or what stands in for one where the answer was none."""

    status: int
    title: str
    detail: str = ""
    type: str = "about:blank"
    errors: tuple[FieldProblem, ...] = ()

    def __str__(self) -> str:
        if self.errors:
            return "; ".join(str(error) for error in self.errors)
        return self.detail or f"{self.title} (HTTP {self.status})"


class MochiClientError(Exception):
    """Base of the tree."""


class InvalidArgument(MochiClientError, ValueError):
    """An argument or setting cannot be sent: nothing was asked of the server."""

    def __init__(self, field: str, problem: str, allowed: str) -> None:
        self.error = FieldProblem(field, problem, allowed)
        super().__init__(str(self.error))


class ApiError(MochiClientError):
    """The server answered with an error."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.problem = problem
        #: Seconds after which the server wants to be asked again, where it said so.
        self.retry_after = retry_after
        super().__init__(str(problem))

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def title(self) -> str:
        """What kind of problem it is, in words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """This problem, in words."""
        return self.problem.detail

    @property
    def errors(self) -> tuple[FieldProblem, ...]:
        """Each wrong field."""
        return self.problem.errors


class BadRequest(ApiError):
    """The request cannot be served as it is."""


class NotFound(ApiError):
    """No job has this id: it never existed or has expired. Or its video is gone."""


class Conflict(ApiError):
    """The job's status does not allow it."""


class NotReady(Conflict):
    """The job has no video (yet)."""


class CannotCancel(Conflict):
    """The job has ended, or its work is done and its result is being recorded."""


class Unavailable(ApiError):
    """The server cannot serve this now."""


class Unreachable(MochiClientError):
    """No answer came from the server."""


class UnexpectedAnswer(MochiClientError):
    """What came is no answer of this API: another server, or a proxy's page."""


class JobFailed(MochiClientError):
    """The job failed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        reason = f"{job.error.message} ({job.error.code})" if job.error else "the server gave no reason"
        super().__init__(f"job {job.id} failed: {reason}")


class JobCancelled(MochiClientError):
    """The job was cancelled."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(f"job {job.id} was cancelled")


class DownloadFailed(MochiClientError):
    """The video did not arrive whole, or is not the one that the job names."""


class Timeout(MochiClientError):
    """The time that the caller gave is over. The job goes on."""

    def __init__(self, job_id: str, seconds: float) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} has not ended within {seconds:g} s; it goes on")
