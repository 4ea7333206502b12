"""What is wrong with an event, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import FieldError, InvalidRequest

__all__ = ["InvalidEvent"]


class InvalidEvent(InvalidRequest):
    """An event that can never work: sending it again changes nothing, so the Broker gives it up.

    `errors` names the attributes that are wrong, and fields of the data as `data.…`. A fault that belongs
    to no attribute may be given as a sentence; `errors` is empty then.
    """

    status = 400
    slug = "invalid-event"
    title = "The event is not valid"

    def __init__(self, errors: Sequence[FieldError] | str) -> None:
        super().__init__(() if isinstance(errors, str) else errors)
        if isinstance(errors, str):
            self.args = (errors,)
