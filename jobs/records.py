"""What the script answers, as values: jobs and deliveries. And outcomes as the script takes them.

Lenient where a record is damaged: a number that is none counts as 0, a field that is unknown is passed
over. Only a record without a readable status and request is no job (DamagedRecord).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from jobs.job import (
    Artifact,
    Attempt,
    Delivery,
    EventKind,
    Job,
    JobError,
    Milestone,
    Outcome,
    Phase,
    ResultKind,
    Status,
)
from jobs.pools import PoolView
from jobs.request import VideoSpec

__all__ = ["DamagedRecord", "Reply", "outcome_arguments"]

_SPEC_FIELDS = frozenset(field.name for field in fields(VideoSpec))
_BESIDE = "./"  # before the name of a poster that lies beside its video
_ATTEMPTS = 32  # that a job shows, the one at work among them
_NO_OUTCOME = 6  # elements of a delivery that asks for work


class DamagedRecord(Exception):
    """The record of a job cannot be read as one."""


@dataclass(frozen=True)
class Reply:
    """The script's answer: `tag` says what happened."""

    tag: str
    deliveries: tuple[Delivery, ...]
    pool: PoolView | None
    extra: tuple[str, ...]
    views: tuple[tuple[str, Mapping[str, str], int], ...]
    limit: int  # the pool's

    @classmethod
    def read(cls, answer: Sequence[Any], limit: int) -> Self:
        """From the script's answer."""
        tag, deliveries, views, pool, extra = answer
        return cls(
            tag=tag,
            deliveries=tuple(_delivery(d) for d in deliveries),
            pool=PoolView.read(pool) if pool else None,
            extra=tuple(extra),
            views=tuple(
                (job_id, dict(zip(flat[::2], flat[1::2], strict=False)), int(position))
                for job_id, flat, position in views
            ),
            limit=limit,
        )

    def job(self, index: int = 0) -> Job:
        """One of the jobs that the script shows. Raises DamagedRecord."""
        job_id, record, position = self.views[index]
        waits = position >= 0
        eta = None
        if waits and self.pool is not None:
            queue = record.get("queue", "")
            eta = self.pool.wait_seconds(queue, position, _int(record, "estimate"), self.limit)
        return _job(job_id, record, position if waits else None, eta)


def _int(record: Mapping[str, str], name: str) -> int:
    try:
        return int(record.get(name, 0))
    except ValueError:
        return 0


def _job(job_id: str, record: Mapping[str, str], position: int | None, eta: float | None) -> Job:
    try:
        status = Status(record["status"])
        spec = _spec(record["request"])
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedRecord(f"the record of job {job_id[:64]} is damaged: {error!r}") from None
    return Job(
        id=job_id,
        status=status,
        phase=_phase(record.get("phase", "")),
        queue=record.get("queue", spec.queue),
        seq=_int(record, "seq"),
        spec=spec,
        version=_int(record, "version"),
        created_us=_int(record, "created"),
        updated_us=_int(record, "version"),  # a version is the time of its change
        started_us=_int(record, "started") or None,
        finished_us=_int(record, "finished") or None,
        attempt=_int(record, "attempt"),
        delivery=_int(record, "delivery"),
        step=_int(record, "step"),
        position=position,
        eta_seconds=None if eta is None else round(eta, 1),
        cancel_requested="cancel" in record,
        artifact=_artifact(record) if status is Status.COMPLETED else None,
        error=_error(record) if status is Status.FAILED else None,
        traceparent=record.get("traceparent", ""),
        milestones=tuple(_milestones(record.get("milestones", ""))),
        attempts=tuple(_attempts(record, spec)),
    )


def _spec(text: str) -> VideoSpec:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise TypeError("the request is no object")
    spec = VideoSpec(**{name: value for name, value in data.items() if name in _SPEC_FIELDS})
    if not isinstance(spec.num_inference_steps, int) or spec.num_inference_steps < 1:
        raise ValueError("num_inference_steps")
    return spec


def _phase(text: str) -> Phase | None:
    try:
        return Phase(text)
    except ValueError:
        return None


def _milestones(text: str) -> list[Milestone]:
    found = []
    for word in text.split():
        try:
            version, state, attempt = word.split(":")
            found.append(_milestone(int(version), state, int(attempt)))
        except ValueError:
            continue
    return found


def _milestone(version: int, state: str, attempt: int) -> Milestone:
    phase = _phase(state)
    if phase is None:
        status = Status(state)
    else:
        status = Status.PENDING if phase in (Phase.WAITING, Phase.STARTING) else Status.PROCESSING
    return Milestone(version, version, status, phase, attempt)


def _attempts(record: Mapping[str, str], spec: VideoSpec) -> list[Attempt]:
    found = []
    for word in record.get("attempts", "").split():
        try:
            *numbers, ended, slot = word.split(":", 6)
            attempt, started, took, first, last = map(int, numbers)
        except ValueError:
            continue
        if ended == ResultKind.COMPLETED:
            last = spec.num_inference_steps  # the last step may have been too quick to be reported
        found.append(Attempt(attempt, slot, started, started + took, first, last, ended))
    if started := _int(record, "claimed"):
        first, last = _int(record, "step_at_claim"), _int(record, "step")
        slot = record.get("slot", "")
        found.append(Attempt(_int(record, "attempt"), slot, started, None, first, last, ""))
    return found[-_ATTEMPTS:]


def _error(record: Mapping[str, str]) -> JobError:
    return JobError(record.get("error_code") or "unknown", record.get("error") or "no reason was recorded")


def _artifact(record: Mapping[str, str]) -> Artifact | None:
    s3_url = record.get("s3_url", "")
    key = record.get("key") or "/".join(s3_url.split("/")[3:])  # s3://bucket/key
    if not key:
        return None
    poster = record.get("poster_key", "")
    if poster.startswith(_BESIDE):
        poster = f"{_folder(key)}{poster.removeprefix(_BESIDE)}"
    return Artifact(key, s3_url, record.get("etag", ""), _int(record, "bytes"), poster)


def _folder(key: str) -> str:
    return key[: key.rfind("/") + 1]


def _delivery(answer: Sequence[Any]) -> Delivery:
    kind, job_id, queue, delivery, attempt, traceparent = answer[:_NO_OUTCOME]
    outcome = None
    if len(answer) > _NO_OUTCOME:
        token, code, message, s3_url, etag, size, key, poster = answer[_NO_OUTCOME:]
        names = ("s3_url", "etag", "bytes", "key", "poster_key", "error_code", "error")
        record = dict(zip(names, (s3_url, etag, size, key, poster, code, message), strict=True))
        outcome = Outcome(
            kind=ResultKind(kind),
            token=token,
            artifact=_artifact(record) if kind == ResultKind.COMPLETED else None,
            error=_error(record) if kind == ResultKind.FAILED else None,
        )
    return Delivery(EventKind(kind), job_id, queue, int(delivery), int(attempt), traceparent, outcome)


def outcome_arguments(outcome: Outcome) -> tuple[str, ...]:
    """An outcome as the script takes it: kind, token, error code and message, then the artifact's fields.

    What can be told from the rest is left out: the key is in the URL, the poster lies beside the video.
    """
    artifact, error = outcome.artifact, outcome.error
    told = (str(outcome.kind), outcome.token, error.code if error else "", error.message if error else "")
    if artifact is None:
        return (*told, "", "", "", "", "")
    key = "" if "/".join(artifact.s3_url.split("/")[3:]) == artifact.key else artifact.key
    poster, folder = artifact.poster_key, _folder(artifact.key)
    if folder and poster.startswith(folder):
        poster = _BESIDE + poster.removeprefix(folder)
    return (*told, artifact.s3_url, artifact.etag, str(artifact.bytes), key, poster)
