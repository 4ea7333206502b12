"""What a transition caused is published, and the record told; whatever fails is logged and left to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from eventing.dispatch import dispatch
from eventing.events import Event, event_for
from eventing.publisher import MemoryPublisher
from jobs.errors import PublishFailed, StoreUnavailable
from jobs.job import Delivery, EventKind
from tests.eventing.values import DELIVERY, JOB, TRACE, delivery

SOURCE = "/mochi/reaper"


class Outbox:
    """Keeps what it is told; raises `failure` where it is set."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.told: list[Delivery] = []
        self.failure = failure

    async def published(self, delivery: Delivery) -> None:
        if self.failure is not None:
            raise self.failure
        self.told.append(delivery)


class Gate(MemoryPublisher):
    """Counts what is on its way at once, and lets it go on when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.sixteen = asyncio.Event()
        self.now = self.most = 0

    async def publish(self, event: Event) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == 16:
            self.sixteen.set()
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        await super().publish(event)


def deliveries(count: int) -> list[Delivery]:
    return [delivery(number=DELIVERY + n) for n in range(count)]


async def test_each_is_published_and_the_record_told() -> None:
    store, publisher = Outbox(), MemoryPublisher()
    sent = [delivery(kind) for kind in EventKind]
    await dispatch(store, publisher, SOURCE, sent)
    assert publisher.events == [event_for(d, SOURCE) for d in sent]
    assert store.told == sent


@pytest.mark.parametrize("none", [(), []])
async def test_nothing_to_publish(none: Sequence[Delivery]) -> None:
    store, publisher = Outbox(), MemoryPublisher()
    await dispatch(store, publisher, SOURCE, none)
    assert (store.told, publisher.events) == ([], [])


async def test_the_record_is_told_only_of_what_was_taken() -> None:
    class Picky(MemoryPublisher):
        async def publish(self, event: Event) -> None:
            if event.id.endswith("7"):
                raise PublishFailed("the Broker answered 503")
            await super().publish(event)

    store, publisher = Outbox(), Picky()
    sent = deliveries(10)
    await dispatch(store, publisher, SOURCE, sent)
    assert len(store.told) == 9
    assert {d.event_id for d in store.told} == {e.id for e in publisher.events}


async def test_many_go_out_at_once_but_not_all() -> None:
    store, gate = Outbox(), Gate()
    task = asyncio.create_task(dispatch(store, gate, SOURCE, deliveries(200)))
    await gate.sixteen.wait()
    gate.open.set()
    await task
    assert (gate.most, len(store.told)) == (16, 200)


FACTS = {
    "job": JOB,
    "kind": "requested",
    "delivery": DELIVERY,
    "attempt": 2,
    "queue": "short-low",
    "trace": TRACE,
}


@pytest.mark.parametrize(
    ("publish_failure", "store_failure", "said", "reason"),
    [
        (None, None, "published", None),
        ("the Broker answered 503", None, "publish_failed", "the Broker answered 503"),
        (None, StoreUnavailable("Redis is away"), "published_not_recorded", "Redis is away"),
        (None, RuntimeError("a defect"), "published_not_recorded", None),
    ],
)
async def test_what_happened_is_one_line_and_nothing_is_raised(
    publish_failure: str | None, store_failure: Exception | None, said: str, reason: str | None
) -> None:
    publisher = MemoryPublisher()
    publisher.failure = publish_failure
    with capture_logs() as lines:
        await dispatch(Outbox(store_failure), publisher, SOURCE, [delivery()])
    (line,) = lines
    assert line["event"] == said
    assert line.get("reason") == reason
    assert line.items() >= FACTS.items()


async def test_one_that_can_not_be_sent_keeps_none_of_the_others() -> None:
    store, publisher = Outbox(), MemoryPublisher()
    no_outcome = Delivery(EventKind.COMPLETED, JOB, "short-low", 1, 1)
    with capture_logs() as lines:
        await dispatch(store, publisher, SOURCE, [no_outcome, *deliveries(20)])
    assert len(store.told) == 20
    assert [line["event"] for line in lines].count("publish_failed") == 1


async def test_when_it_is_cancelled_the_record_knows_nothing_that_is_not_so() -> None:
    store, gate = Outbox(), Gate()
    task = asyncio.create_task(dispatch(store, gate, SOURCE, deliveries(40)))
    await gate.sixteen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (store.told, gate.events, gate.now) == ([], [], 0)
