"""The job that a path names."""

from __future__ import annotations

from starlette.requests import Request

from jobs.errors import JobNotFound
from jobs.job_ids import is_job_id

__all__ = ["job_id_of"]


def job_id_of(request: Request) -> str:
    """The `{job_id}` of the request's path. Raises JobNotFound."""
    job_id = str(request.path_params["job_id"])
    if not is_job_id(job_id):
        raise JobNotFound(job_id)
    return job_id
