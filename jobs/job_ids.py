"""Job ids: `uuid4().hex`. What is no id is no job, and Redis need not be asked. No I/O."""

from __future__ import annotations

import re
from uuid import uuid4

__all__ = ["JOB_ID_PATTERN", "JOB_ID_RULE", "is_job_id", "new_job_id"]

JOB_ID_PATTERN = "[0-9a-f]{32}"
#: The same for people.
JOB_ID_RULE = "32 lower-case hexadecimal digits"

_JOB_ID = re.compile(JOB_ID_PATTERN)


def new_job_id() -> str:
    """A new id."""
    return uuid4().hex


def is_job_id(text: object) -> bool:
    """Whether `text` can be the id of a job."""
    return isinstance(text, str) and _JOB_ID.fullmatch(text) is not None
