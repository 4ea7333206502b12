"""What a job shows of itself."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.job import (
    Artifact,
    Attempt,
    Delivery,
    EventKind,
    Job,
    JobError,
    Milestone,
    Phase,
    ResultKind,
    Status,
    rfc3339,
)
from jobs.request import VideoSpec
from tests.specs import spec

SPEC = spec(
    prompt="ein roter Kreis 🎈",
    num_frames=61,
    num_inference_steps=24,
    seed=2**53 - 1,
    deadline="2030-01-31T12:00:00Z",
)
JOB = Job(
    "job-1",
    Status.PENDING,
    Phase.WAITING,
    "short-low",
    7,
    SPEC,
    1,
    1_767_323_045_000_006,
    1_767_323_045_000_006,
)
ENDED = replace(
    JOB,
    status=Status.COMPLETED,
    phase=None,
    started_us=1_767_323_046_000_000,
    finished_us=1_767_323_047_000_000,
    step=24,
    artifact=Artifact("videos/job-1/1-t/video.mp4", "s3://videos/videos/job-1/1-t/video.mp4", "abc", 5),
    milestones=(Milestone(1, 1_767_323_045_000_006, Status.PENDING, Phase.WAITING, 0),),
    attempts=(Attempt(1, "gpu-0", 1_767_323_046_000_000, 1_767_323_047_000_000, 0, 24, "completed"),),
)
FAILED = replace(JOB, status=Status.FAILED, phase=None, step=6, error=JobError("out_of_memory", "Too large."))


@pytest.mark.parametrize(
    "job", [JOB, ENDED, FAILED, replace(JOB, status=Status.PROCESSING, phase=Phase.DENOISING)]
)
def test_what_is_public_is_json_and_nothing_else(job: Job) -> None:
    public = job.public()
    assert json.loads(json.dumps(public)) == public
    assert public["job_id"] == "job-1"
    assert public["status"] == job.status.value
    assert type(public["status"]) is str
    assert public["request"]["prompt"] == SPEC.prompt
    assert public["steps"] == 24


def test_times_are_rfc_3339() -> None:
    public = ENDED.public()
    assert public["created_at"] == "2026-01-02T03:04:05.000006Z"
    assert public["finished_at"] == "2026-01-02T03:04:07.000000Z"
    assert JOB.public()["started_at"] is None
    assert public["milestones"] == [
        {"at": "2026-01-02T03:04:05.000006Z", "status": "pending", "phase": "waiting", "attempt": 0}
    ]


def test_attempts_show_who_worked_and_why_it_ended() -> None:
    attempt = {
        "attempt": 1,
        "slot": "gpu-0",
        "started_at": "2026-01-02T03:04:06.000000Z",
        "ended_at": "2026-01-02T03:04:07.000000Z",
        "first_step": 0,
        "last_step": 24,
        "ended": "completed",
    }
    assert ENDED.public()["attempts"] == [attempt]
    at_work = replace(ENDED.attempts[0], ended_us=None, ended="")
    assert at_work.public() == attempt | {"ended_at": None, "ended": ""}
    assert JOB.public()["attempts"] == []


def test_every_public_job_has_the_same_keys() -> None:
    assert list(JOB.public()) == list(ENDED.public()) == list(FAILED.public())


def test_the_end_of_a_job() -> None:
    assert ENDED.public()["video"] == {
        "s3_url": ENDED.artifact and ENDED.artifact.s3_url,
        "etag": "abc",
        "bytes": 5,
    }
    assert ENDED.public()["error"] is None
    assert FAILED.public()["error"] == {"code": "out_of_memory", "message": "Too large."}
    assert FAILED.public()["video"] is None
    assert JOB.public()["phase"] == "waiting"
    assert ENDED.public()["phase"] is None


def test_progress() -> None:
    assert JOB.progress == 0
    assert FAILED.progress == 0.25
    assert ENDED.progress == 1
    assert replace(JOB, step=7).public()["progress"] == 0.2917


def test_only_three_statuses_are_terminal() -> None:
    assert {s for s in Status if s.terminal} == {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    assert {str(kind) for kind in ResultKind} == {str(s) for s in Status if s.terminal}
    assert {str(kind) for kind in ResultKind} < {str(kind) for kind in EventKind}


def test_an_event_has_the_same_id_for_the_same_fact() -> None:
    delivery = Delivery(EventKind.REQUESTED, "job-1", "short-low", 5, 1)
    assert delivery.event_id == "job-1:requested:5"
    assert replace(delivery, attempt=2, traceparent="x").event_id == delivery.event_id
    assert replace(delivery, delivery=6).event_id != delivery.event_id
    assert replace(delivery, kind=EventKind.CONTINUED).event_id != delivery.event_id


@given(st.integers(0, 7_258_118_399_999_999))
def test_a_time_comes_back_as_it_was(time_us: int) -> None:
    text = rfc3339(time_us)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() == pytest.approx(
        time_us / 1e6, abs=1e-5
    )
    assert replace(SPEC, deadline=text).deadline_us == time_us


@pytest.mark.parametrize("value", [JOB, SPEC, FAILED.error, ENDED.artifact])
def test_values_are_frozen(value: object) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, "another")  # type: ignore[arg-type]  # all are dataclasses


def test_a_spec_survives_its_record() -> None:
    assert VideoSpec.from_json(SPEC.to_json()) == SPEC
    assert "🎈" in SPEC.to_json()
    assert VideoSpec.from_json(replace(SPEC, deadline=None).to_json()).deadline is None
