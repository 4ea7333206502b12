"""What the server's own records become at the client, and what cannot be read."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest

from jobs.job import Job as ServersJob
from jobs.job import Status as ServersStatus
from mochi import Attempt, Event, Job, JobError, Page, Spec, Status, UnexpectedAnswer, Video
from tests.functions.values import AT_WORK, COMPLETED, FAILED, WAITING
from tests.mochi.answers import at_work, completed, failed, small, waiting


@pytest.mark.parametrize("job", [WAITING, AT_WORK, COMPLETED, FAILED])
def test_nothing_of_the_servers_record_is_lost(job: ServersJob) -> None:
    public = job.public()
    parsed = Job.parse(public)
    assert parsed.raw == public
    renamed = {"job_id": "id"}
    known = {f.name for f in fields(Job)}
    assert {renamed.get(name, name) for name in public} <= known
    known_attempt = {f.name for f in fields(Attempt)}
    assert all(set(attempt) == known_attempt for attempt in public["attempts"])
    assert set(public["request"]) == {f.name for f in fields(Spec)}


def test_every_field_has_its_type() -> None:
    job = Job.parse(completed(b"x", etag="e"))
    assert job.video is not None
    assert (job.video.bytes, job.video.etag) == (1, "e")
    assert job.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert [m.status for m in job.milestones] == ["pending", "processing"]
    assert (job.ended, job.progress, job.request.seed) == (True, 1.0, 1)
    (attempt,) = job.attempts
    assert (attempt.slot, attempt.first_step, attempt.last_step) == ("gpu-host:7", 0, 24)
    assert (attempt.ended, attempt.ended_at) == ("completed", datetime(2026, 1, 2, 3, 4, 5, 8, UTC))
    assert job.request.duration_seconds == pytest.approx(7 / 30)
    assert Job.parse(failed()).error == JobError("out_of_memory", "too large")


def test_statuses_are_the_servers() -> None:
    assert [str(s) for s in Status] == [str(s) for s in ServersStatus]
    assert [str(s) for s in Status if s.terminal] == [str(s) for s in ServersStatus if s.terminal]


def test_what_a_later_server_adds_is_kept() -> None:
    job = Job.parse({**at_work(), "phase": "dreaming", "mood": "good"})
    assert (job.phase, job.raw["mood"]) == ("dreaming", "good")


def test_what_an_answer_leaves_out_has_a_default() -> None:
    job = Job.parse({"job_id": "1", "status": "pending"})
    assert (job.phase, job.step, job.video, job.request.prompt) == (None, 0, None, "")
    assert (job.milestones, job.attempts) == ((), ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job_id": None}, "has no field 'job_id'"),
        ({"status": "dreaming"}, "unknown status: 'dreaming'"),
        ({"progress": "half"}, "'progress' of the job has the wrong type"),
        ({"created_at": "yesterday"}, "'created_at' of the job"),
        ({"video": []}, "'video' of the job"),
        ({"video": {"etag": "e"}}, "the job's video has no field 'bytes'"),
        ({"milestones": [1]}, r"the job's milestones\[0\] is no JSON object"),
        ({"attempts": [{"slot": 7}]}, r"'slot' of the job's attempts\[0\] has the wrong type"),
        ({"cancel_requested": 1}, "'cancel_requested'"),
    ],
)
def test_what_cannot_be_read_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=words):
        Job.parse({**waiting(), **changes})


def test_events_and_pages() -> None:
    event = Event.parse("5", small())
    assert (event.id, event.step, event.steps, event.job) == ("5", 6, 24, None)
    assert event.at == datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    last = Event.parse("9", completed())
    assert last.job is not None
    assert isinstance(last.job.video, Video)
    assert Page.parse({"jobs": [], "next_cursor": None}) == Page((), None)
    with pytest.raises(UnexpectedAnswer, match="no field 'jobs'"):
        Page.parse({})
