"""What the OpenAPI document says about each route beyond its path. Words only; no behaviour."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from functions.bodies import BODY_LIMIT
from functions.problems import MEDIA_TYPE
from functions.submit import models
from functions.submit.queries import DEFAULT_LIMIT, MAX_LIMIT
from jobs.job import Status
from jobs.request import VideoRequest

__all__ = ["OPERATIONS", "schemas"]

_REF = "#/components/schemas/"
_MODELS: tuple[type[BaseModel], ...] = (
    VideoRequest,
    models.Job,
    models.Page,
    models.Change,
    models.Download,
    models.Health,
    models.Problem,
)
_EXAMPLE = {"prompt": "a red circle moving right", "width": 848, "height": 480, "quality": "low"}
_PROBLEMS = {
    400: "What was sent is no CloudEvent; the problem names the attribute.",
    404: "There is no such job: it never existed or has expired.",
    409: "The job's status does not allow it; the problem names the status.",
    410: "The object store has lost the video.",
    413: f"The body is larger than {BODY_LIMIT} bytes.",
    415: "The content type is not application/json in UTF-8.",
    416: "The range begins behind the end of the video.",
    422: "What was sent is not valid; the problem names every wrong field.",
    429: "The queue's backlog is full; `Retry-After` says when to try again.",
    500: "A defect of the service.",
    503: "Redis, the object store or the model's profile is not there (yet); try again.",
}


def schemas() -> dict[str, Any]:
    """The schemas of the document's components."""
    _, document = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template=_REF + "{model}"
    )
    found: dict[str, Any] = document["$defs"]
    found["VideoRequest"]["examples"] = [_EXAMPLE]
    return found


def _content(media_type: str, model: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF + model}}}


def _answer(description: str, model: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "content": _content("application/json", model),
        **_headers(headers or {}),
    }


def _headers(headers: dict[str, str]) -> dict[str, Any]:
    found = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {"headers": found} if found else {}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted((*statuses, 500)):
        found[status] = {"description": _PROBLEMS[status], "content": _content(MEDIA_TYPE, "Problem")}
    for status in {429, 503} & set(statuses):
        found[status] |= _headers({"Retry-After": "Seconds."})
    return found


def _parameter(name: str, where: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "description": description,
        "schema": schema,
        "required": where == "path",
    }


_JOB_ID = _parameter(
    "job_id", "path", "Anything but an id is a 404.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}
)
_TRACE = _parameter(
    "traceparent", "header", "W3C trace context; stored with the job and sent on.", {"type": "string"}
)
_REDIRECT = _parameter(
    "redirect",
    "query",
    "false: the video itself instead of a redirect.",
    {"type": "string", "enum": ["true", "false"], "default": "true"},
)
_RANGES = [
    _parameter("Range", "header", "One range of bytes, with `redirect=false`.", {"type": "string"}),
    _parameter("If-Range", "header", "The `ETag` that the range belongs to.", {"type": "string"}),
    _parameter("If-None-Match", "header", "An `ETag`: 304 where the video has it.", {"type": "string"}),
]
_VIDEO = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
_VIDEO_HEADERS = {"ETag": "Of the video.", "Accept-Ranges": "bytes", "Content-Length": "Bytes."}
_ANY_EVENT: dict[str, Any] = {"type": "object", "required": ["specversion", "id", "source", "type"]}

#: By operation id: what FastAPI's `add_api_route` takes.
OPERATIONS: dict[str, dict[str, Any]] = {
    "submitJob": {
        "status_code": 202,
        "summary": "Submit a request for a video",
        "description": "The limits are those of the deployed model. An accepted job is never lost.",
        "responses": {
            202: _answer(
                "The job is recorded (or was before, under the same Idempotency-Key).",
                "Job",
                {"Location": "`/jobs/{job_id}`.", "Idempotent-Replayed": "true for a job recorded before."},
            ),
            **_problems(413, 415, 422, 429, 503),
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": _content("application/json", "VideoRequest")},
            "parameters": [
                _parameter(
                    "Idempotency-Key",
                    "header",
                    "The same key and request give the same job for as long as it is kept; "
                    "the same key and another request give 422.",
                    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                ),
                _TRACE,
            ],
        },
    },
    "listJobs": {
        "summary": "List jobs, newest first",
        "description": "The order is stable while new jobs come in.",
        "responses": {200: _answer("One page.", "Page"), **_problems(422, 503)},
        "openapi_extra": {
            "parameters": [
                _parameter(
                    "status", "query", "Only these.", {"type": "string", "enum": [str(s) for s in Status]}
                ),
                _parameter("queue", "query", "Only this queue's.", {"type": "string"}),
                _parameter(
                    "limit",
                    "query",
                    "Jobs a page.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                ),
                _parameter("cursor", "query", "`next_cursor` of the page before.", {"type": "string"}),
            ]
        },
    },
    "getJob": {
        "summary": "A job as it is now",
        "description": "Polling shows the same as the event stream.",
        "responses": {200: _answer("The job.", "Job"), **_problems(404, 503)},
        "openapi_extra": {"parameters": [_JOB_ID]},
    },
    "cancelJob": {
        "summary": "Cancel a job",
        "description": "Cancelling a cancelled job is no error.",
        "responses": {
            200: _answer("The job is cancelled.", "Job"),
            202: _answer("The job is at work, and stops at its next step.", "Job"),
            **_problems(404, 409, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID]},
    },
    "followJob": {
        "summary": "Follow a job live",
        "description": (
            "Server-sent events. `id`: the version of the change. `event`: `status` (a new status or phase) "
            "and `progress`, with a Change as data; at last `completed`, `failed` or `cancelled` with the "
            "Job, after which the stream ends. A comment every 15 s keeps a quiet stream open."
        ),
        "responses": {
            200: {
                "description": "The changes, as they happen.",
                "content": {
                    "text/event-stream": {
                        "schema": {"type": "string"},
                        "examples": {
                            "progress": {
                                "summary": "One event; its data is a Change",
                                "value": 'event: progress\ndata: {"job_id":"…","step":3}\nid: 9\n\n',
                            }
                        },
                    }
                },
            },
            204: {
                "description": "The job has ended, and `Last-Event-ID` is its last event: nothing will come."
            },
            **_problems(404, 422, 503),
        },
        "openapi_extra": {
            "parameters": [
                _JOB_ID,
                _parameter(
                    "Last-Event-ID",
                    "header",
                    "The `id` of the last event seen: what came after it is sent.",
                    {"type": "string", "pattern": "^[0-9]+$"},
                ),
            ]
        },
    },
    "getResult": {
        "summary": "The video",
        "description": "A redirect to a presigned URL, or with `redirect=false` the MP4 itself, with ranges.",
        "responses": {
            200: {
                "description": "With `redirect=false`.",
                "content": _VIDEO,
                **_headers(_VIDEO_HEADERS),
            },
            206: {
                "description": "With `redirect=false` and a `Range`.",
                "content": _VIDEO,
                **_headers({**_VIDEO_HEADERS, "Content-Range": "The bytes sent, and the size."}),
            },
            304: {"description": "The video has the `ETag` of `If-None-Match`."},
            307: {
                "description": "To a presigned URL, which serves ranges.",
                **_headers({"Location": "The URL. It needs no credentials, and its time runs out."}),
            },
            **_problems(404, 409, 410, 416, 422, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID, _REDIRECT, *_RANGES]},
    },
    "headResult": {
        "summary": "Size and ETag of the video",
        "description": "Never a redirect: a URL that is presigned for GET refuses HEAD.",
        "responses": {
            200: {"description": "There is a video.", **_headers(_VIDEO_HEADERS)},
            **_problems(404, 409, 422, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID, _REDIRECT]},
    },
    "getDownload": {
        "summary": "A URL of the video",
        "description": "Presigned; a browser saves what it gets there as a file.",
        "responses": {200: _answer("The URL.", "Download"), **_problems(404, 409, 503)},
        "openapi_extra": {"parameters": [_JOB_ID]},
    },
    "submitEvent": {
        "status_code": 202,
        "summary": "Submit a CloudEvent whose data is a request",
        "description": (
            "Binary or structured, of any type. `source` and `id` make it idempotent, whatever its data."
        ),
        "responses": {
            202: {
                "description": "A CloudEvent `dev.mochi.generation.accepted`, in binary mode.",
                "content": _content("application/json", "Job"),
            },
            **_problems(400, 413, 422, 429, 503),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    **_content("application/json", "VideoRequest"),
                    "application/cloudevents+json": {"schema": _ANY_EVENT},
                },
            },
            "parameters": [
                _parameter(f"ce-{name}", "header", "Binary mode.", {"type": "string"})
                for name in ("specversion", "id", "source", "type")
            ],
        },
    },
    "getRoot": {
        "status_code": 307,
        "summary": "To this document",
        "description": "A redirect.",
        "responses": {307: {"description": "To /openapi.json."}},
    },
    "getHealth": {
        "summary": "Whether jobs can be recorded",
        "description": "Redis answers and takes writes.",
        "responses": {200: _answer("They can.", "Health"), **_problems(503)},
    },
    "getLive": {
        "summary": "Whether the process serves",
        "description": "It asks nobody else.",
        "responses": {200: _answer("It does.", "Health")},
    },
    "getMetrics": {
        "summary": "Metrics for Prometheus",
        "description": "The pool's are read at the scrape; `mochi_store_up` says whether that worked.",
        "responses": {
            200: {"description": "The exposition.", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
    },
}
