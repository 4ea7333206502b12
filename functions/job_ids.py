"""Job ids: `uuid4().hex`. What is no id is no job, and Redis is not asked."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.requests import Request

from jobs.errors import JobNotFound

__all__ = ["is_job_id", "job_id_of", "new_job_id"]

_JOB_ID = re.compile(r"[0-9a-f]{32}")


def new_job_id() -> str:
    """A new id: 32 lower-case hexadecimal digits."""
    return uuid4().hex


def is_job_id(text: object) -> bool:
    """Whether `text` can be the id of a job."""
    return isinstance(text, str) and _JOB_ID.fullmatch(text) is not None


def job_id_of(request: Request) -> str:
    """The `{job_id}` of the request's path. Raises JobNotFound."""
    job_id = str(request.path_params["job_id"])
    if not is_job_id(job_id):
        raise JobNotFound(job_id)
    return job_id
