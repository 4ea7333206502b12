"""The HTTP API as values: which request asks for what, and what an answer means. No I/O.

Credentials (of the URL, or in `headers`) go to the API's own origin and nowhere else.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, TypedDict
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit
from uuid import uuid4

from mochi.errors import (
    ApiError,
    BadRequest,
    CannotCancel,
    Conflict,
    FieldProblem,
    InvalidArgument,
    NotFound,
    NotReady,
    Problem,
    Unavailable,
    UnexpectedAnswer,
)
from mochi.reading import Fields, decode_json
from mochi.retry import retry_after
from mochi.version import version
from mochi.wire import Reply, Request

__all__ = ["DEFAULT_URL", "Api", "VideoFields", "decode", "origin", "problem_of"]

DEFAULT_URL = "http://127.0.0.1:8080"

_JOB_ID = re.compile(r"[0-9A-Za-z_-]{1,128}")
_KEY = re.compile(r"[!-~]{1,255}")  # as the server allows it

#: The last word of the `type` of a problem with status 409.
_CONFLICTS: Mapping[str, type[Conflict]] = {"video-not-ready": NotReady, "cannot-cancel": CannotCancel}


class VideoFields(TypedDict, total=False):
    """What a request may say besides its prompt. None means the same as absent."""

    negative_prompt: str | None
    width: int | None  # pixels
    height: int | None  # pixels
    num_frames: int | None  # 6k+1; not together with duration_seconds
    duration_seconds: float | None
    quality: str | None  # low, medium or high; not together with num_inference_steps
    num_inference_steps: int | None
    guidance_scale: float | None
    seed: int | None
    queue: str | None
    deadline: datetime | str | None  # aware, or RFC 3339


@dataclass(frozen=True)
class Api:
    """Where the API is, and what every request to it carries."""

    base: str  # absolute, without credentials and trailing slash
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def at(cls, url: str, headers: Mapping[str, str] | None = None) -> Self:
        """Check the URL. Raises InvalidArgument."""
        try:
            parts = urlsplit(url.strip())
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.query or parts.fragment:
            # The text may hold a password: it is not repeated.
            raise InvalidArgument(
                "MOCHI_URL", "is not a URL of the API", "http://… or https://…, without ? and #"
            )
        own = {"user-agent": f"mochi/{version()}"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            own["authorization"] = f"Basic {b64encode(pair).decode()}"
        host = parts.netloc.rpartition("@")[2]
        base = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        return cls(base, own | {name.lower(): value for name, value in (headers or {}).items()})

    def submit(self, prompt: str, fields: Mapping[str, object], idempotency_key: str | None) -> Request:
        """`POST /jobs`. A key is drawn where none is given. Raises InvalidArgument."""
        key = uuid4().hex if idempotency_key is None else idempotency_key
        if not _KEY.fullmatch(key):
            raise InvalidArgument("idempotency_key", "cannot be sent", "1 to 255 visible ASCII characters")
        body = {"prompt": prompt} | {k: _json(k, v) for k, v in fields.items() if v is not None}
        headers = {"content-type": "application/json", "idempotency-key": key}
        return self._request("POST", "/jobs", headers=headers, body=json.dumps(body).encode())

    def get(self, job_id: str) -> Request:
        """`GET /jobs/{id}`. Raises NotFound for what cannot be an id."""
        return self._request("GET", f"/jobs/{_id(job_id)}")

    def page(self, status: str | None, queue: str | None, limit: int | None, cursor: str | None) -> Request:
        """`GET /jobs`."""
        query = {"status": status, "queue": queue, "limit": limit, "cursor": cursor}
        return self._request("GET", "/jobs", {k: str(v) for k, v in query.items() if v is not None})

    def cancel(self, job_id: str) -> Request:
        """`POST /jobs/{id}/cancel`. Raises NotFound for what cannot be an id."""
        return self._request("POST", f"/jobs/{_id(job_id)}/cancel")

    def events(self, job_id: str, last_event_id: str) -> Request:
        """`GET /jobs/{id}/events`. Raises NotFound for what cannot be an id."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        return self._request("GET", f"/jobs/{_id(job_id)}/events", headers=headers)

    def link(self, job_id: str) -> Request:
        """`GET /download/{id}`. Raises NotFound for what cannot be an id."""
        return self._request("GET", f"/download/{_id(job_id)}")

    def result(self, job_id: str, headers: Mapping[str, str], redirect: bool = True) -> Request:
        """`GET /jobs/{id}/result`, without `redirect` through the API. Raises NotFound as `get`."""
        query = None if redirect else {"redirect": "false"}
        return self._request("GET", f"/jobs/{_id(job_id)}/result", query, headers)

    def redirected(self, url: str, headers: Mapping[str, str]) -> Request:
        """The request after a redirect: with our headers only at our own origin."""
        own = self.headers if origin(url) == origin(self.base) else {"user-agent": self.headers["user-agent"]}
        return Request("GET", url, {**own, **headers})

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Request:
        url = self.base + path + (f"?{urlencode(query)}" if query else "")
        return Request(method, url, {"accept": "application/json", **self.headers, **(headers or {})}, body)


def _id(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise NotFound(Problem(404, "There is no such job", f"no job has the id {job_id[:64]!r}"))
    return quote(job_id, safe="")


def _json(name: str, value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(name, "has no time zone", "an aware datetime, or RFC 3339 text")
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(name, f"{value} is not a finite number", "a finite number")
    return value


def decode(reply: Reply) -> object:
    """The JSON of a successful answer. Raises ApiError for any other, UnexpectedAnswer for no JSON."""
    if not 200 <= reply.status < 300:
        raise problem_of(reply)
    return decode_json(reply.body, "the server's answer")


def problem_of(reply: Reply) -> ApiError | UnexpectedAnswer:
    """The error that an answer stands for."""
    if reply.status < 400:
        return UnexpectedAnswer(f"the server answered HTTP {reply.status}, which this API never does here")
    problem = _problem(reply)
    kind: type[ApiError]
    match reply.status:
        case 404 if problem.type == "about:blank" and not problem.detail:
            # A 404 of somebody else (a wrong URL, a gateway) says nothing about a job.
            return UnexpectedAnswer("there is no such API at this address: the server answered HTTP 404")
        case 404 | 410:
            kind = NotFound
        case 409:
            kind = _CONFLICTS.get(problem.type.rpartition("/")[2], Conflict)
        case 429:
            kind = Unavailable
        case status:
            kind = Unavailable if status >= 500 else BadRequest
    return kind(problem, retry_after(reply.headers))


def _problem(reply: Reply) -> Problem:
    fallback = Problem(reply.status, "The server answered with an error")
    if "json" not in reply.headers.get("content-type", ""):
        return fallback
    try:
        data = Fields.of(decode_json(reply.body, "the error"), "the error")
        return Problem(
            status=reply.status,
            title=data.text("title", fallback.title),
            detail=data.text("detail", ""),
            type=data.text("type", "about:blank"),
            errors=tuple(
                FieldProblem(e.text("field", ""), e.text("problem", ""), e.text("allowed", ""))
                for e in data.many("errors")
            ),
        )
    except UnexpectedAnswer:
        return fallback


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. Raises UnexpectedAnswer unless it is a URL of HTTP."""
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        found = (parts.scheme, parts.hostname or "", parts.port or default)
    except ValueError:
        raise UnexpectedAnswer("the server redirects to what is no URL") from None
    if default is None or not parts.hostname:
        raise UnexpectedAnswer("the server redirects to what is no URL of HTTP")
    return found
