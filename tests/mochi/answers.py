"""What the API answers: made by the server's own `Job.public()`, so that both sides agree."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from jobs.job import Job
from tests.functions.values import AT_WORK, COMPLETED, FAILED, JOB_ID, WAITING

__all__ = [
    "JOB_ID",
    "VIDEO",
    "at_work",
    "cancelled",
    "completed",
    "event",
    "failed",
    "problem",
    "small",
    "waiting",
]

VIDEO = bytes(range(256)) * 400  # 102,400 bytes


def waiting(**changes: object) -> dict[str, Any]:
    return {**WAITING.public(), **changes}


def at_work(**changes: object) -> dict[str, Any]:
    return {**AT_WORK.public(), **changes}


def completed(video: bytes = VIDEO, etag: str | None = None) -> dict[str, Any]:
    assert COMPLETED.artifact
    md5 = hashlib.md5(video, usedforsecurity=False).hexdigest()
    artifact = replace(COMPLETED.artifact, bytes=len(video), etag=md5 if etag is None else etag)
    return replace(COMPLETED, artifact=artifact).public()


def failed() -> dict[str, Any]:
    return FAILED.public()


def cancelled() -> dict[str, Any]:
    return {**completed(), "status": "cancelled", "video": None}


def small(job: Job = AT_WORK, **changes: object) -> dict[str, Any]:
    """The data of an event before the last."""
    found = {
        k: job.public()[k] for k in ("job_id", "status", "phase", "attempt", "step", "steps", "progress")
    }
    return {**found, "at": job.public()["updated_at"], **changes}


def event(data: dict[str, Any], version: int, name: str = "status") -> bytes:
    """A server-sent event."""
    return f"event: {name}\nid: {version}\ndata: {json.dumps(data)}\n\n".encode()


def problem(status: int, slug: str, **more: object) -> dict[str, Any]:
    return {
        "type": f"/problems/{slug}" if slug else "about:blank",
        "title": "A problem",
        "status": status,
        "detail": "it is so",
        **more,
    }
