"""A simulated broker: it loses, repeats, delays and reorders events, tries again, and dead-letters.

It keeps events in memory, as Knative's own broker does, and forgets them all when it dies.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

from eventing.events import TYPE_PREFIX, Event
from jobs.errors import PublishFailed
from tests.simulation.asgi import Answer
from tests.simulation.loop import Process
from tests.simulation.scene import Gone, Scene

__all__ = ["Broker", "SimPublisher", "Subscriber"]

#: Delivers an event: the answer, or Gone. The event tells that the broker has given up waiting.
Subscriber = Callable[[Event, asyncio.Event], "asyncio.Future[Answer]"]

_WORK = ("requested", "continued")
_RETRY = frozenset({404, 408, 409, 425, 429})  # of 4xx, those that Knative tries again
_TRIES = 3
_TIMEOUT = 150.0  # seconds; above a slice, as the Triggers' is


class Broker:
    """One Broker with its Triggers."""

    def __init__(
        self, scene: Scene, predict: Subscriber, completion: Subscriber, dead_letters: Subscriber
    ) -> None:
        self._scene = scene
        self._predict, self._completion, self._dead_letters = predict, completion, dead_letters
        self._process = Process("broker")
        self.in_flight = 0
        self._deaf_until = 0.0

    async def accept(self, event: Event) -> None:
        """Raises PublishFailed, also where it has taken the event."""
        scene, faults = self._scene, self._scene.faults
        await scene.point(f"before publish {event.id}")
        if faults.happens("broker refuses an event"):
            raise PublishFailed("refused")
        self._take(event)
        if faults.happens("broker takes an event and does not say so"):
            raise PublishFailed("no answer")
        scene.log.handed_over.add((event.subject, _number(event)))
        await scene.point(f"after publish {event.id}")

    def _take(self, event: Event) -> None:
        scene, faults = self._scene, self._scene.faults
        scene.log.say("broker", f"takes {event.id}")
        scene.invariants.event(event)
        if faults.happens("broker dies"):
            scene.kill(self._process, "and forgets its events")
            self._process, self.in_flight = Process("broker"), 0
        if faults.happens("a Trigger is gone for a while"):
            self._deaf_until = scene.loop.time() + faults.between(100, 5000)
            scene.log.say("broker", f"HAS NO TRIGGER for work until {self._deaf_until:.3f}")
        if scene.loop.time() < self._deaf_until and event.type.removeprefix(TYPE_PREFIX) in _WORK:
            return
        if faults.happens("broker loses an event"):
            scene.log.say("broker", f"LOSES {event.id}")
            return
        copies = 2 if faults.happens("broker delivers twice") else 1
        for _ in range(copies):
            self.in_flight += 1
            scene.call(self._process, self._deliver(event, self._process))

    async def _deliver(self, event: Event, myself: Process) -> None:
        try:
            await self._pause()
            work = event.type.removeprefix(TYPE_PREFIX) in _WORK
            status, why = await self._try(self._predict if work else self._completion, event)
            if status >= 300 or status == 0:
                code = {"knativeerrorcode": str(status)} if status else {}
                data = {"knativeerrordata": b64encode(why.encode()).decode()}
                dead = replace(event, extensions={**event.extensions, **code, **data})
                self._scene.log.say("broker", f"gives up {event.id}: {status}")
                await self._pause()
                await self._try(self._dead_letters, dead)
        finally:
            if myself is self._process:
                self.in_flight -= 1

    async def _pause(self) -> None:
        scene = self._scene
        seconds = scene.random.uniform(0, 0.1)
        if scene.faults.happens("broker is slow"):
            seconds = scene.faults.between(1, scene.random.choice((30, 200)))
        await asyncio.sleep(seconds)

    async def _try(self, subscriber: Subscriber, event: Event) -> tuple[int, str]:
        """The last status, 0: none, and the last body."""
        status, why, broken = 0, "no answer", False
        for turn in range(_TRIES):
            if turn:
                await asyncio.sleep(2.0**turn)
            if subscriber == self._predict and (
                broken or self._scene.faults.happens("subscriber fails with 5xx")
            ):
                status, why = 503, "broken"
                broken = broken or self._scene.random.random() < 0.5  # and stays so
                continue
            status, why = await self._post(subscriber, event)
            if 200 <= status < 300 or (400 <= status < 500 and status not in _RETRY):
                break
        return status, why

    async def _post(self, subscriber: Subscriber, event: Event) -> tuple[int, str]:
        scene, gone = self._scene, asyncio.Event()
        if subscriber == self._predict and scene.faults.happens("subscriber refuses with 4xx"):
            return 422, "refused"
        cut = scene.faults.happens("broker gives up waiting")
        try:
            answer = await asyncio.wait_for(
                asyncio.shield(subscriber(event, gone)), scene.faults.between(0, 60) if cut else _TIMEOUT
            )
        except Gone:
            return 502, "gone"
        except TimeoutError:
            gone.set()
            return 0, "timeout"
        defect = f"{event.id} is answered {answer.body!r}" if answer.status == 500 else None
        scene.invariants.hold("no_defect_is_met", defect)
        reply = answer.event
        if reply is not None:
            scene.log.handed_over.add((reply.subject, _number(reply)))
            self._take(reply)
        return answer.status, answer.body.decode("utf-8", "replace")


def _number(event: Event) -> int:
    return int(event.extensions.get("delivery", "0"))


class SimPublisher:
    """A Publisher to the simulated broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, event: Event) -> None:
        """Raises PublishFailed."""
        await self._broker.accept(event)

    async def aclose(self) -> None:
        """Nothing is open."""
