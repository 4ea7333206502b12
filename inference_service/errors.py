"""Errors of the predictor's process and its routes. They hang in the tree of `jobs.errors`.

MochiError
├── NotServed        404  a route of KServe's that this server does not have
├── JobCancelled     409  the job was cancelled while the call waited for it
├── JobFailed        500  the job ended without a video
├── InternalError    500  a defect; its text is in the log, not in the answer
├── NotLoaded        503  the model is still being loaded
├── ShuttingDown     503  this process ends: another one is to do the job
└── JobGoesOn        504  the job needs more than one slice, or this predictor ends
    └── GpuLost      503  the GPU broke while the call waited

What a model raises, DeviceLost among it, is drawn in `pipeline.py`.
"""

from __future__ import annotations

from jobs.errors import MochiError

__all__ = [
    "GpuLost",
    "InternalError",
    "JobCancelled",
    "JobFailed",
    "JobGoesOn",
    "NotLoaded",
    "NotServed",
    "ShuttingDown",
]


class NotServed(MochiError):
    """A route of KServe's that this server does not have."""

    status = 404
    slug = "not-served"
    title = "Not served here"


class JobCancelled(MochiError):
    """The job was cancelled while this call waited for it."""

    status = 409
    slug = "job-cancelled"
    title = "The job was cancelled"


class JobFailed(MochiError):
    """The job ended without a video."""

    status = 500
    slug = "job-failed"
    title = "The job failed"


class InternalError(MochiError):
    """A defect. Its text is in the log, not in the answer."""


class NotLoaded(MochiError):
    """The model is still being loaded."""

    status = 503
    slug = "model-not-ready"
    title = "The model is not ready"
    retry_after = 5


class ShuttingDown(MochiError):
    """This process ends: another one is to do the job."""

    status = 503
    slug = "shutting-down"
    title = "The predictor is shutting down"
    retry_after = 1


class JobGoesOn(MochiError):
    """The job needs more than one slice, or this predictor ends: other deliveries finish it."""

    status = 504
    slug = "job-goes-on"
    title = "The job goes on without this call"


class GpuLost(JobGoesOn):
    """The GPU broke. No `Retry-After`: the job goes on elsewhere, and a retry would be a second one."""

    status = 503
    slug = "device-lost"
    title = "The predictor lost its GPU"
