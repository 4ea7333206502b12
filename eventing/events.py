"""The events of the system: one class for each type, with the shape of its data.

`event_for` makes the event of a delivery, `outcome_of` reads the event of a job's end. JSON Schemas of the
data are made from these classes (`python -m eventing.schemas`). Knows nothing of how events travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from eventing.errors import InvalidEvent
from jobs.errors import FieldError
from jobs.job import Artifact, Delivery, EventKind, JobError, Outcome, ResultKind, Status
from jobs.request import VideoRequest

__all__ = [
    "EVENT_TYPES",
    "TYPE_PREFIX",
    "Accepted",
    "Cancelled",
    "Completed",
    "Continued",
    "Event",
    "Failed",
    "Requested",
    "Submitted",
    "event_for",
    "outcome_of",
]

#: Before the last word of every type.
TYPE_PREFIX = "dev.mochi.generation."

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """A CloudEvent 1.0 with JSON data."""

    type: str
    source: str  # a URI reference, e.g. /mochi/submit
    id: str  # with `source`, names the event: the same fact always has the same
    subject: str  # of our events the job's id; empty where an event has none
    time: datetime | None  # aware; of our events always set, None only where a sender gave none
    data: dict[str, Any]  # a JSON object
    extensions: dict[str, str] = field(default_factory=dict)  # lower-case letters and digits → value


class _Data(BaseModel):
    # A newer sender may say more than this version knows.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


JobId: TypeAlias = Annotated[str, Field(min_length=1, description="The job.")]
Token: TypeAlias = Annotated[
    str, Field(description="Of the lease that did the work; empty where no lease did.")
]


class Requested(_Data):
    """A GPU is wanted for a job that was admitted."""

    type: ClassVar[str] = f"{TYPE_PREFIX}{EventKind.REQUESTED}"

    job_id: JobId
    queue: str = Field(description="The class of work.")
    attempt: int = Field(ge=0, description="Leases that the job has had so far.")


class Continued(Requested):
    """A slice of a job ended before the job did; a GPU is wanted for the next one."""

    type: ClassVar[str] = f"{TYPE_PREFIX}{EventKind.CONTINUED}"


class _Video(_Data):
    key: str = Field(min_length=1, description="Of the object, below its bucket.")
    s3_url: str = Field(min_length=1, description="`s3://{bucket}/{key}`.")
    etag: str = Field(description="As the object store returned it, without quotes.")
    bytes: int = Field(ge=0, description="Size of the video.")
    poster_key: str = Field("", description="Of the poster image; empty where there is none.")


class _Error(_Data):
    code: str = Field(min_length=1, description="For programs, e.g. `out_of_memory`.")
    message: str = Field(description="For people.")


class Completed(_Data):
    """The video is in the object store."""

    type: ClassVar[str] = f"{TYPE_PREFIX}{EventKind.COMPLETED}"

    job_id: JobId
    token: Token = ""
    video: _Video


class Failed(_Data):
    """The job ended without a video."""

    type: ClassVar[str] = f"{TYPE_PREFIX}{EventKind.FAILED}"

    job_id: JobId
    token: Token = ""
    error: _Error


class Cancelled(_Data):
    """The job was cancelled."""

    type: ClassVar[str] = f"{TYPE_PREFIX}{EventKind.CANCELLED}"

    job_id: JobId
    token: Token = ""


class Submitted(VideoRequest):
    """A producer asks for a video; a Trigger brings the event to submit."""

    type: ClassVar[str] = f"{TYPE_PREFIX}submitted"


class Accepted(_Data):
    """Submit has recorded the job. The data is the job as `GET /jobs/{id}` shows it: these and more."""

    model_config = ConfigDict(extra="allow")

    type: ClassVar[str] = f"{TYPE_PREFIX}accepted"

    job_id: JobId
    status: Status
    queue: str = Field(description="The class of work.")
    created_at: AwareDatetime
    request: dict[str, Any] = Field(description="What was asked for, with nothing left open.")


#: The class of each type's data.
EVENT_TYPES: Mapping[str, type[BaseModel]] = {
    model.type: model for model in (Requested, Continued, Completed, Failed, Cancelled, Submitted, Accepted)
}

_ENDS: Mapping[str, type[Completed] | type[Failed] | type[Cancelled]] = {
    model.type: model for model in (Completed, Failed, Cancelled)
}


def event_for(delivery: Delivery, source: str) -> Event:
    """The event of a delivery: for the same delivery and source always the same.

    Raises ValueError for a terminal delivery without its outcome, which is a defect.
    """
    extensions = {
        "queue": delivery.queue,
        "attempt": str(delivery.attempt),
        "delivery": str(delivery.delivery),
        "traceparent": delivery.traceparent,
    }
    return Event(
        type=f"{TYPE_PREFIX}{delivery.kind}",
        source=source,
        id=delivery.event_id,
        subject=delivery.job_id,
        time=_EPOCH + timedelta(microseconds=delivery.delivery),
        data=_data_of(delivery).model_dump(mode="json"),
        extensions={name: value for name, value in extensions.items() if value},
    )


def _data_of(delivery: Delivery) -> BaseModel:
    job_id, outcome = delivery.job_id, delivery.outcome
    match delivery.kind, outcome:
        case EventKind.REQUESTED, _:
            return Requested(job_id=job_id, queue=delivery.queue, attempt=delivery.attempt)
        case EventKind.CONTINUED, _:
            return Continued(job_id=job_id, queue=delivery.queue, attempt=delivery.attempt)
        case EventKind.COMPLETED, Outcome(token=token, artifact=Artifact() as made):
            video = _Video(
                key=made.key,
                s3_url=made.s3_url,
                etag=made.etag,
                bytes=made.bytes,
                poster_key=made.poster_key,
            )
            return Completed(job_id=job_id, token=token, video=video)
        case EventKind.FAILED, Outcome(token=token, error=JobError() as error):
            return Failed(job_id=job_id, token=token, error=_Error(code=error.code, message=error.message))
        case EventKind.CANCELLED, Outcome(token=token):
            return Cancelled(job_id=job_id, token=token)
        case _:
            raise ValueError(f"delivery {delivery.event_id} has no outcome of its kind")


def outcome_of(event: Event) -> Outcome:
    """What an event of a job's end says. Raises InvalidEvent: its type, or every wrong field of its data."""
    model = _ENDS.get(event.type)
    if model is None:
        problem = f"{event.type[:100]!r} is not the end of a job"
        raise InvalidEvent([FieldError("type", problem, ", ".join(_ENDS))])
    try:
        data = model.model_validate(event.data)
    except ValidationError as error:
        raise InvalidEvent([_fault(dict(e)) for e in error.errors(include_url=False)]) from None
    match data:
        case Completed(token=token, video=v):
            artifact = Artifact(v.key, v.s3_url, v.etag, v.bytes, v.poster_key)
            return Outcome(ResultKind.COMPLETED, token, artifact=artifact)
        case Failed(token=token, error=e):
            return Outcome(ResultKind.FAILED, token, error=JobError(e.code, e.message))
        case Cancelled(token=token):
            return Outcome(ResultKind.CANCELLED, token)


def _fault(error: dict[str, Any]) -> FieldError:
    name = ".".join(("data", *map(str, error["loc"])))
    if error["type"] == "missing":
        return FieldError(name, "is missing", "a value; it is required")
    allowed = str(error["msg"]).removeprefix("Input should be ")
    return FieldError(name, "is not allowed", allowed[:1].lower() + allowed[1:])
