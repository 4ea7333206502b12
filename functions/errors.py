"""Errors that only an HTTP door can raise. They hang in the tree of `jobs.errors`.

MochiError
├── InvalidRequest
│   ├── BodyTooLarge         413  the body is larger than a function takes
│   └── WrongContentType     415  the body is not of the type that the route takes
├── CannotCancel             409  the job has ended, or its result is being recorded
├── VideoGone                410  the job has a video that the object store has lost
├── RangeNotSatisfiable      416  the video is shorter than the range begins
├── ProfileUnknown           503  no predictor has said yet what its model can do
└── InternalError            500  a defect; its text is in the log, not in the answer
"""

from __future__ import annotations

from jobs.errors import FieldError, InvalidRequest, MochiError

__all__ = [
    "BodyTooLarge",
    "CannotCancel",
    "InternalError",
    "ProfileUnknown",
    "RangeNotSatisfiable",
    "VideoGone",
    "WrongContentType",
]


class BodyTooLarge(InvalidRequest):
    """The body is larger than a function takes. It was not read to its end."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"

    def __init__(self, limit: int) -> None:
        super().__init__([FieldError("body", "is too large", f"at most {limit} bytes")])


class WrongContentType(InvalidRequest):
    """The body is not of the type that the route takes."""

    status = 415
    slug = "wrong-content-type"
    title = "The content type is not supported"

    def __init__(self, given: str, allowed: str) -> None:
        problem = f"{given[:100]!r} is not supported" if given else "is missing"
        super().__init__([FieldError("Content-Type", problem, allowed)])


class CannotCancel(MochiError):
    """The job has ended, or its work is done and the result is being recorded: a result wins."""

    status = 409
    slug = "cannot-cancel"
    title = "The job cannot be cancelled any more"

    def __init__(self, job_id: str, job_status: str) -> None:
        self.job_id = job_id
        self.job_status = job_status
        done = "has done its work already" if job_status == "processing" else f"is {job_status}"
        super().__init__(f"job {job_id} {done}: only a job that is pending or at work can be cancelled")


class VideoGone(MochiError):
    """The job is completed, but the object store has no such object any more."""

    status = 410
    slug = "video-gone"
    title = "The video is gone"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"the video of job {job_id} was removed from the object store")


class RangeNotSatisfiable(MochiError):
    """The video is shorter than the range begins."""

    status = 416
    slug = "range-not-satisfiable"
    title = "The range lies outside the video"

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the video has {size} bytes; a range must begin below that")


class ProfileUnknown(MochiError):
    """Requests cannot be judged before the first predictor was up."""

    status = 503
    slug = "profile-unknown"
    title = "The model's profile is not known yet"
    retry_after = 10

    def __init__(self, model_name: str) -> None:
        super().__init__(
            f"no profile is shipped for the model {model_name!r}, and no predictor has stored one yet: "
            "try again when the first one is up"
        )


class InternalError(MochiError):
    """A defect of ours. Nothing of it is shown."""
