"""Deliveries and events for tests: one of each kind, and hypothesis strategies for any."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from eventing.events import Event, event_for
from jobs.job import Artifact, Delivery, EventKind, JobError, Outcome, ResultKind

JOB = "0123456789abcdef0123456789abcdef"
DELIVERY = 1_767_323_045_000_006  # microseconds: 2026-01-02T03:04:05.000006Z
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ARTIFACT = Artifact(f"videos/{JOB}/2-t/video.mp4", "s3://videos/v.mp4", "d41d8", 1234, "poster.jpg")
ERROR = JobError(
    "out_of_memory", "the GPU has no memory for 848x480; a smaller size needs less — so try that"
)

OUTCOMES: dict[EventKind, Outcome | None] = {
    EventKind.REQUESTED: None,
    EventKind.CONTINUED: None,
    EventKind.COMPLETED: Outcome(ResultKind.COMPLETED, "token", artifact=ARTIFACT),
    EventKind.FAILED: Outcome(ResultKind.FAILED, "token", error=ERROR),
    EventKind.CANCELLED: Outcome(ResultKind.CANCELLED, ""),
}


def delivery(
    kind: EventKind = EventKind.REQUESTED, *, number: int = DELIVERY, traceparent: str = TRACEPARENT
) -> Delivery:
    return Delivery(kind, JOB, "short-low", number, 2, traceparent, OUTCOMES[kind])


def event(kind: EventKind = EventKind.REQUESTED, *, number: int = DELIVERY) -> Event:
    return event_for(delivery(kind, number=number), "/mochi/submit")


#: What the specification allows in a String: no control characters, surrogates or noncharacters.
texts = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=40)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda n: n not in ("specversion", "id", "source", "type", "subject", "time", "data", "dataschema")
)
sources = st.from_regex(
    r"(/|urn:|https://h/)?[A-Za-z0-9._~-]([A-Za-z0-9._~/?=&-]|%[0-9A-F]{2})*", fullmatch=True
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)
events = st.builds(
    Event,
    type=texts,
    source=sources,
    id=texts,
    subject=st.just("") | texts,
    time=st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2)),  # noqa: DTZ001  # hypothesis adds the zone
    data=json_objects,
    extensions=st.dictionaries(names, texts, max_size=4),
)
