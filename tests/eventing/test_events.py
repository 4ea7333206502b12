"""The event of each kind of delivery, and what its end says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eventing.codec import InvalidEvent, decode, encode
from eventing.events import TYPE_PREFIX, event_for, outcome_of
from jobs.job import EventKind, Outcome, ResultKind, rfc3339
from tests.eventing.values import ARTIFACT, DELIVERY, ERROR, JOB, OUTCOMES, TRACEPARENT, delivery, event

ENDS = [EventKind.COMPLETED, EventKind.FAILED, EventKind.CANCELLED]


@pytest.mark.parametrize("kind", [EventKind.REQUESTED, EventKind.CONTINUED])
def test_a_wanted_gpu(kind: EventKind) -> None:
    made = event(kind)
    assert made.data == {"job_id": JOB, "queue": "short-low", "attempt": 2}
    assert made.extensions == {
        "queue": "short-low",
        "attempt": "2",
        "delivery": str(DELIVERY),
        "traceparent": TRACEPARENT,
    }


def test_the_data_of_the_ends() -> None:
    assert event(EventKind.COMPLETED).data == {
        "job_id": JOB,
        "token": "token",
        "video": {
            "key": ARTIFACT.key,
            "s3_url": ARTIFACT.s3_url,
            "etag": ARTIFACT.etag,
            "bytes": ARTIFACT.bytes,
            "poster_key": ARTIFACT.poster_key,
        },
    }
    assert event(EventKind.FAILED).data == {
        "job_id": JOB,
        "token": "token",
        "error": {"code": ERROR.code, "message": ERROR.message},
    }
    assert event(EventKind.CANCELLED).data == {"job_id": JOB, "token": ""}


@pytest.mark.parametrize("kind", EventKind)
def test_the_same_delivery_is_the_same_event_and_a_new_one_another(kind: EventKind) -> None:
    assert encode(event(kind)) == encode(event(kind))
    assert event(kind).id == delivery(kind).event_id
    assert event(kind).id != event(kind, number=DELIVERY + 1).id


def test_an_empty_extension_is_left_out() -> None:
    made = event_for(delivery(traceparent=""), "/s")
    assert set(made.extensions) == {"queue", "attempt", "delivery"}


@pytest.mark.parametrize("number", [1, 999_999, DELIVERY, 253_402_300_799_999_999])
def test_the_time_is_the_delivery_to_the_microsecond(number: int) -> None:
    headers, _ = encode(event(number=number))
    assert headers["ce-time"] == rfc3339(number)


@pytest.mark.parametrize("kind", ENDS)
def test_what_came_out_arrives_as_it_was(kind: EventKind) -> None:
    assert outcome_of(decode(*encode(event(kind)))) == OUTCOMES[kind]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("outcome", [None, Outcome(ResultKind.COMPLETED), Outcome(ResultKind.FAILED)])
def test_an_end_without_its_outcome_is_a_defect(kind: EventKind, outcome: Outcome | None) -> None:
    wrong = replace(delivery(kind), outcome=outcome)
    if kind is EventKind.CANCELLED and outcome is not None:
        assert event_for(wrong, "/s").data["token"] == ""
    else:
        with pytest.raises(ValueError, match="no outcome"):
            event_for(wrong, "/s")


@pytest.mark.parametrize("kind", [EventKind.REQUESTED, EventKind.CONTINUED])
def test_what_is_no_end_has_no_outcome(kind: EventKind) -> None:
    with pytest.raises(InvalidEvent) as caught:
        outcome_of(event(kind))
    (error,) = caught.value.errors
    assert error.field == "type"
    assert f"{TYPE_PREFIX}completed" in error.allowed


@pytest.mark.parametrize(
    ("kind", "change", "fields"),
    [
        (EventKind.COMPLETED, {"video": None}, {"data.video"}),
        (EventKind.COMPLETED, {"video": {}}, {f"data.video.{n}" for n in ("key", "s3_url", "etag", "bytes")}),
        (EventKind.COMPLETED, {"token": 7, "job_id": None}, {"data.token", "data.job_id"}),
        (EventKind.FAILED, {"error": {"code": "", "message": 7}}, {"data.error.code", "data.error.message"}),
        (EventKind.FAILED, {"error": "out of memory"}, {"data.error"}),
        (EventKind.CANCELLED, {"job_id": ""}, {"data.job_id"}),
    ],
)
def test_every_wrong_field_is_named(kind: EventKind, change: dict[str, Any], fields: set[str]) -> None:
    made = event(kind)
    with pytest.raises(InvalidEvent) as caught:
        outcome_of(replace(made, data=made.data | change))
    assert {e.field for e in caught.value.errors} == fields
    assert all(e.problem and e.allowed for e in caught.value.errors)


@pytest.mark.parametrize("size", [-1, True, 1.5, "7", float("nan"), None])
def test_a_size_is_a_whole_number(size: object) -> None:
    made = event(EventKind.COMPLETED)
    video = made.data["video"] | {"bytes": size}
    with pytest.raises(InvalidEvent) as caught:
        outcome_of(replace(made, data=made.data | {"video": video}))
    assert [e.field for e in caught.value.errors] == ["data.video.bytes"]


def test_what_a_newer_sender_adds_is_passed_over() -> None:
    made = event(EventKind.COMPLETED)
    video = made.data["video"] | {"codec": "h264"}
    newer = replace(made, data=made.data | {"video": video, "more": {}})
    assert outcome_of(newer) == OUTCOMES[EventKind.COMPLETED]
