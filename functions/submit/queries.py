"""Query parameters. All that is wrong is reported at once, unknown ones included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from jobs.errors import FieldError, InvalidRequest
from jobs.job import Status

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "Listing", "parse_listing", "parse_redirect"]

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_MAX_CURSOR = 200  # characters


@dataclass(frozen=True)
class Listing:
    """Which jobs to list."""

    status: Status | None = None
    queue: str | None = None
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def parse_listing(query: QueryParams, queues: Sequence[str]) -> Listing:
    """The parameters of `GET /jobs`. Raises InvalidRequest."""
    errors = _strangers(query, ("status", "queue", "limit", "cursor"))
    statuses = [str(s) for s in Status]
    status, queue, cursor = query.get("status"), query.get("queue"), query.get("cursor")
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if status is not None and status not in statuses:
        errors.append(FieldError("status", f"{status[:40]!r} is unknown", ", ".join(statuses)))
    if queue is not None and queue not in queues:
        errors.append(FieldError("queue", f"{queue[:40]!r} is unknown", ", ".join(queues)))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= MAX_LIMIT):
        errors.append(FieldError("limit", f"{limit[:40]!r} is not allowed", f"1 to {MAX_LIMIT}"))
    if cursor is not None and not 1 <= len(cursor) <= _MAX_CURSOR:
        errors.append(FieldError("cursor", "is no cursor", "the next_cursor of the page before"))
    if errors:
        raise InvalidRequest(errors)
    return Listing(Status(status) if status else None, queue, int(limit), cursor)


def parse_redirect(query: QueryParams) -> bool:
    """Whether `GET /jobs/{id}/result` redirects. Raises InvalidRequest."""
    answers: Mapping[str, bool] = {"true": True, "false": False}
    errors = _strangers(query, ("redirect",))
    text = query.get("redirect", "true")
    if text not in answers:
        errors.append(FieldError("redirect", f"{text[:40]!r} is not allowed", "true, false"))
    if errors:
        raise InvalidRequest(errors)
    return answers[text]


def _strangers(query: QueryParams, known: Sequence[str]) -> list[FieldError]:
    names = [name for name, _ in query.multi_items()]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    twice = [name for name in known if names.count(name) > 1]
    return [FieldError(name[:64], "is unknown", ", ".join(known)) for name in unknown] + [
        FieldError(name, "is given more than once", "one value") for name in twice
    ]
