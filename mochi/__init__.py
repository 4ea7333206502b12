"""The Python client of Mochi Functions: `from mochi import Client, AsyncClient`.

The clients are imported when they are first asked for, so that `mochi --help` does not load httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mochi.errors import (
    ApiError,
    BadRequest,
    CannotCancel,
    Conflict,
    DownloadFailed,
    FieldProblem,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    MochiClientError,
    NotFound,
    NotReady,
    Problem,
    Timeout,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from mochi.models import Attempt, Event, Job, JobError, Milestone, Page, Spec, Status, Video
from mochi.retry import Retry

if TYPE_CHECKING:
    from mochi.async_client import AsyncClient
    from mochi.client import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Attempt",
    "BadRequest",
    "CannotCancel",
    "Client",
    "Conflict",
    "DownloadFailed",
    "Event",
    "FieldProblem",
    "InvalidArgument",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "Milestone",
    "MochiClientError",
    "NotFound",
    "NotReady",
    "Page",
    "Problem",
    "Retry",
    "Spec",
    "Status",
    "Timeout",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Video",
]

_LATE = {"AsyncClient": "mochi.async_client", "Client": "mochi.client"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'mochi' has no attribute {name!r}")
