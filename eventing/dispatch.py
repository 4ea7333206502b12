"""Publishing what a transition of the job store caused.

Each delivery is published, and then the record is told. A process that dies in between, or fails, leaves a
record that says that the event is due: it is published again, under an id that says that it is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import structlog

from eventing.events import event_for
from eventing.publisher import Publisher
from jobs.errors import PublishFailed, StoreUnavailable
from jobs.job import Delivery
from jobs.logs import trace_id

__all__ = ["Outbox", "dispatch"]

#: Events on their way at once. A cancelled job frees one credit; a tick may bring hundreds of events.
_AT_ONCE = 16

log = structlog.get_logger(__name__)


class Outbox(Protocol):
    """What the job store is to this module."""

    async def published(self, delivery: Delivery) -> None:
        """The Broker has taken the delivery. Raises StoreUnavailable."""


async def dispatch(store: Outbox, publisher: Publisher, source: str, deliveries: Iterable[Delivery]) -> None:
    """Publish the deliveries as events of `source`. Whatever fails is logged, never raised."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(delivery: Delivery) -> None:
        async with slots:
            await _dispatch_one(store, publisher, source, delivery)

    async with asyncio.TaskGroup() as group:
        for delivery in deliveries:
            group.create_task(one(delivery))


async def _dispatch_one(store: Outbox, publisher: Publisher, source: str, delivery: Delivery) -> None:
    logger = log.bind(
        job=delivery.job_id,
        kind=str(delivery.kind),
        delivery=delivery.delivery,
        attempt=delivery.attempt,
        queue=delivery.queue,
        trace=trace_id(delivery.traceparent),
    )
    try:
        await publisher.publish(event_for(delivery, source))
    except PublishFailed as error:
        logger.warning("publish_failed", reason=str(error))
        return
    except Exception:  # a defect; but one event that cannot be sent must not keep the others
        logger.exception("publish_failed")
        return
    try:
        await store.published(delivery)
    except StoreUnavailable as error:
        logger.warning("published_not_recorded", reason=str(error))
    except Exception:  # as above
        logger.exception("published_not_recorded")
    else:
        logger.info("published")
