"""What can be the id of a job."""

from __future__ import annotations

import re

import pytest

from jobs.job_ids import JOB_ID_PATTERN, is_job_id, new_job_id


def test_a_new_one_is_one_and_another_each_time() -> None:
    ids = {new_job_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(is_job_id(job_id) and re.fullmatch(JOB_ID_PATTERN, job_id) for job_id in ids)


@pytest.mark.parametrize(
    "text", ["", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", "\u0661" * 32, None, 7]
)
def test_what_is_none(text: object) -> None:
    assert not is_job_id(text)
