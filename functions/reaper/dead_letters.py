"""`POST /dead-letters`: an event that the Broker gave up on, with the reason that it adds.

Knative adds `knativeerrorcode` (the last status) and `knativeerrordata` (its body in base64, cut off at 1024
characters).
"""

from __future__ import annotations

from base64 import b64decode
from codecs import getincrementaldecoder

import structlog

from eventing.dispatch import dispatch
from eventing.events import TYPE_PREFIX, Event
from eventing.payload import json_of
from functions.reaper.tick import SOURCE
from functions.wiring import Wiring
from jobs.errors import JobNotFound
from jobs.job import EventKind
from jobs.job_ids import is_job_id
from jobs.logs import trace_id

__all__ = ["DeadLetters", "reason_of", "status_code_of"]

#: Only these ask for a GPU. A terminal event that is lost is made up for by the tick.
_TYPES = frozenset(f"{TYPE_PREFIX}{kind}" for kind in (EventKind.REQUESTED, EventKind.CONTINUED))
_MAX_REASON = 300  # characters; people read it
_MAX_DIGITS = 16  # of a number in an extension: Redis' scripts count in doubles, Python refuses thousands

log = structlog.get_logger(__name__)


class DeadLetters:
    """Tells the store of them."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def take(self, event: Event) -> None:
        """Requeue or end the event's job, if the event still means something. Raises StoreUnavailable."""
        job_id, delivery = event.data.get("job_id"), event.extensions.get("delivery", "")
        code, reason = status_code_of(event), reason_of(event)
        dead = log.bind(
            job=job_id,
            type=event.type,
            queue=event.extensions.get("queue"),
            attempt=event.extensions.get("attempt"),
            trace=trace_id(event.extensions.get("traceparent", "")),
            code=code,
            reason=reason,
        )
        known = event.type in _TYPES and isinstance(job_id, str) and is_job_id(job_id)
        if not known or not _is_number(delivery):
            dead.warning("dead_letter_ignored")
            return
        try:
            deliveries = await self._wiring.store.dead_letter(str(job_id), int(delivery), code, reason)
        except JobNotFound:
            dead.warning("dead_letter_of_unknown_job")
            return
        dead.warning("dead_letter", admitted=len(deliveries))
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, deliveries)


def status_code_of(event: Event) -> int:
    """The status of the last answer; 0: there was none."""
    code = event.extensions.get("knativeerrorcode", "")
    return int(code) if _is_number(code) and len(code) <= 3 else 0


def reason_of(event: Event) -> str:
    """Why the last delivery failed, for people: a problem's detail, or what was answered."""
    text = _decoded(event.extensions.get("knativeerrordata", ""))
    try:
        answered = json_of(text)
    except ValueError:  # cut off, no JSON at all, or nested without an end
        answered = None
    if isinstance(answered, dict) and isinstance(answered.get("detail"), str):
        text = answered["detail"]
    text = " ".join(text.split())[:_MAX_REASON]
    return text or "the event could not be delivered"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _decoded(data: str) -> str:
    """The text in base64; `data` itself where it is none (a broker may send plain text)."""
    try:
        # What is cut off may end within a quartet, and within a character (which is then not final).
        decoded = b64decode(data[: len(data) // 4 * 4], validate=True)
        return getincrementaldecoder("utf-8")().decode(decoded, final=False)
    except ValueError:
        return data
