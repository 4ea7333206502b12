"""The hop limit: how many replies may follow one another before a loop is cut.

Knative's rule: an event that comes without `knativebrokerttl` gets 255, one that comes with it gets one
less, and at 0 it is refused: the event that it replied to is then a dead letter. Subscribers never see it;
the broker keeps it beside the event.
"""

from __future__ import annotations

from jobs.errors import FieldError
from local.broker.events import NotACloudEvent, WireEvent

__all__ = ["MAX_HOPS", "TTL", "hops_of", "without_hops"]

TTL = "knativebrokerttl"
MAX_HOPS = 255


def hops_of(event: WireEvent) -> int:
    """The hops of an event that is posted. It may bring fewer than the default, never more.

    Raises NotACloudEvent where none is left.
    """
    given = event.attributes.get(TTL, "")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        return MAX_HOPS
    hops = min(int(given) - 1, MAX_HOPS)
    if hops <= 0:
        raise NotACloudEvent(
            [FieldError(TTL, "no hops are left: this event goes round in a loop", "2 to 256")]
        )
    return hops


def without_hops(event: WireEvent) -> WireEvent:
    """The event as subscribers see it."""
    return event.without(TTL) if TTL in event.attributes else event
