"""What the OpenAPI document says about each route beyond its path. Words only; no behaviour."""

from __future__ import annotations

from typing import Any

from functions.submit.openapi_parts import answer, content, headers, parameter, problems
from functions.submit.queries import DEFAULT_LIMIT, MAX_LIMIT
from jobs.job import Status
from jobs.job_ids import JOB_ID_PATTERN

__all__ = ["OPERATIONS"]

_JOB_ID = parameter(
    "job_id", "path", "Anything but an id is a 404.", {"type": "string", "pattern": f"^{JOB_ID_PATTERN}$"}
)
_TRACE = parameter(
    "traceparent", "header", "W3C trace context; stored with the job and sent on.", {"type": "string"}
)
_REDIRECT = parameter(
    "redirect",
    "query",
    "false: the video itself instead of a redirect.",
    {"type": "string", "enum": ["true", "false"], "default": "true"},
)
_RANGES = [
    parameter("Range", "header", "One range of bytes, with `redirect=false`.", {"type": "string"}),
    parameter("If-Range", "header", "The `ETag` that the range belongs to.", {"type": "string"}),
    parameter("If-None-Match", "header", "An `ETag`: 304 where the video has it.", {"type": "string"}),
]
_VIDEO = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
_VIDEO_HEADERS = {"ETag": "Of the video.", "Accept-Ranges": "bytes", "Content-Length": "Bytes."}
_ANY_EVENT: dict[str, Any] = {"type": "object", "required": ["specversion", "id", "source", "type"]}

#: By operation id: what FastAPI's `add_api_route` takes.
OPERATIONS: dict[str, dict[str, Any]] = {
    "submitJob": {
        "status_code": 202,
        "summary": "Submit a request for a video",
        "description": "The limits are those of the deployed model. An accepted job outlives every restart.",
        "responses": {
            202: answer(
                "The job is recorded (or was before, under the same Idempotency-Key).",
                "Job",
                {"Location": "`/jobs/{job_id}`.", "Idempotent-Replayed": "true for a job recorded before."},
            ),
            **problems(413, 415, 422, 429, 503),
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": content("application/json", "VideoRequest")},
            "parameters": [
                parameter(
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
        "responses": {200: answer("One page.", "Page"), **problems(422, 503)},
        "openapi_extra": {
            "parameters": [
                parameter(
                    "status", "query", "Only these.", {"type": "string", "enum": [str(s) for s in Status]}
                ),
                parameter("queue", "query", "Only this queue's.", {"type": "string"}),
                parameter(
                    "limit",
                    "query",
                    "Jobs a page.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                ),
                parameter("cursor", "query", "`next_cursor` of the page before.", {"type": "string"}),
            ]
        },
    },
    "getJob": {
        "summary": "A job as it is now",
        "description": "Polling shows the same as the event stream.",
        "responses": {200: answer("The job.", "Job"), **problems(404, 503)},
        "openapi_extra": {"parameters": [_JOB_ID]},
    },
    "cancelJob": {
        "summary": "Cancel a job",
        "description": "Cancelling a cancelled job is no error.",
        "responses": {
            200: answer("The job is cancelled.", "Job"),
            202: answer("The job is at work, and stops at its next step.", "Job"),
            **problems(404, 409, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID]},
    },
    "followJob": {
        "summary": "Follow a job live",
        "description": (
            "Server-sent events. `id`: the version of the change. `event`: `status` (a new status or phase) "
            "and `progress`, with a Change as data; at last `completed`, `failed` or `cancelled` with the "
            "Job, after which the stream ends. A comment every 15 s keeps a quiet stream open. "
            "One that is cut (on a cluster after 300 s) goes on with `Last-Event-ID`."
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
            **problems(404, 422, 503),
        },
        "openapi_extra": {
            "parameters": [
                _JOB_ID,
                parameter(
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
                **headers(_VIDEO_HEADERS),
            },
            206: {
                "description": "With `redirect=false` and a `Range`.",
                "content": _VIDEO,
                **headers({**_VIDEO_HEADERS, "Content-Range": "The bytes sent, and the size."}),
            },
            304: {"description": "The video has the `ETag` of `If-None-Match`."},
            307: {
                "description": "To a presigned URL, which serves ranges.",
                **headers({"Location": "The URL. It needs no credentials, and its time runs out."}),
            },
            **problems(404, 409, 410, 416, 422, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID, _REDIRECT, *_RANGES]},
    },
    "headResult": {
        "summary": "Size and ETag of the video",
        "description": "Never a redirect: a URL that is presigned for GET refuses HEAD.",
        "responses": {
            200: {"description": "There is a video.", **headers(_VIDEO_HEADERS)},
            **problems(404, 409, 422, 503),
        },
        "openapi_extra": {"parameters": [_JOB_ID, _REDIRECT]},
    },
    "getDownload": {
        "summary": "A URL of the video",
        "description": "Presigned; a browser saves what it gets there as a file.",
        "responses": {200: answer("The URL.", "Download"), **problems(404, 409, 503)},
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
                "content": content("application/json", "Job"),
            },
            **problems(400, 413, 422, 429, 503),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    **content("application/json", "VideoRequest"),
                    "application/cloudevents+json": {"schema": _ANY_EVENT},
                },
            },
            "parameters": [
                parameter(f"ce-{name}", "header", "Binary mode.", {"type": "string"})
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
        "responses": {200: answer("They can.", "Health"), **problems(503)},
    },
    "getLive": {
        "summary": "Whether the process serves",
        "description": "It asks nobody else.",
        "responses": {200: answer("It does.", "Health")},
    },
    "getMetrics": {
        "summary": "Metrics for Prometheus",
        "description": "The pool's are read at the scrape; `mochi_store_up` says whether that worked.",
        "responses": {
            200: {"description": "The exposition.", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
    },
}
