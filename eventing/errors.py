"""What is wrong with an event, all of it at once."""

from __future__ import annotations

from jobs.errors import InvalidRequest

__all__ = ["InvalidEvent"]


class InvalidEvent(InvalidRequest):
    """An event that can never work: sending it again changes nothing, so the Broker gives it up.

    `errors` names the attributes that are wrong, and fields of the data as `data.…`.
    """

    status = 400
    slug = "invalid-event"
    title = "The event is not valid"
