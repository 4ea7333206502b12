"""The JSON Schemas are those of the classes, and what we send holds to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from eventing.events import EVENT_TYPES, TYPE_PREFIX
from eventing.schemas import FOLDER, schema_texts, write_schemas
from jobs.job import EventKind, Job, Phase, Status
from jobs.request import VideoSpec
from tests.eventing.values import JOB, event


def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{TYPE_PREFIX}{kind}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_files_are_current() -> None:
    files = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert files == schema_texts(), "run: python -m eventing.schemas"


def test_writing_them(tmp_path: Path) -> None:
    assert {p.name for p in write_schemas(tmp_path)} == {f"{name}.json" for name in EVENT_TYPES}
    assert {p.name: p.read_text("utf-8") for p in tmp_path.iterdir()} == schema_texts()


def test_there_is_a_class_for_every_kind() -> None:
    kinds = {name.removeprefix(TYPE_PREFIX) for name in EVENT_TYPES}
    assert kinds == {*map(str, EventKind), "submitted", "accepted"}


@pytest.mark.parametrize("kind", EventKind)
def test_what_we_send_is_valid(kind: EventKind) -> None:
    validator(kind).validate(event(kind).data)
    assert list(validator(kind).iter_errors({}))


def test_a_job_is_the_data_of_accepted() -> None:
    spec = VideoSpec("a fox", "", 848, 480, 163, 30, 64, 4.5, 7, "short-low")
    job = Job(JOB, Status.PENDING, Phase.WAITING, "short-low", 1, spec, version=1, created_us=1, updated_us=1)
    validator("accepted").validate(job.public())
    assert list(validator("accepted").iter_errors({"job_id": JOB, "status": "lost"}))


def test_a_request_is_the_data_of_submitted() -> None:
    validator("submitted").validate({"prompt": "a fox", "num_frames": 7})
    assert list(validator("submitted").iter_errors({"prompt": "a fox", "frames": 7}))
    assert list(validator("submitted").iter_errors({}))
