"""The processes of a run: pods of the functions, which live for one call, and predictors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from starlette.applications import Starlette
from starlette.types import ASGIApp

from eventing.events import Event
from eventing.publisher import Publisher
from functions.completion.api import create_app as completion_app
from functions.reaper.api import create_app as reaper_app
from functions.wiring import Wiring
from inference_service.errors import InternalError
from inference_service.events import add_events_route
from inference_service.model import MochiModel
from inference_service.predict import Predictor
from jobs.errors import MochiError, PoolBusy
from tests.simulation.asgi import Answer, post
from tests.simulation.link import QUEUES
from tests.simulation.loop import Process
from tests.simulation.predictors import RealWorker
from tests.simulation.scene import Gone, Scene
from tests.simulation.storage import SimStorage
from tests.simulation.store import SimStore
from tests.simulation.worker import Rules, Worker

__all__ = ["Functions", "Pool", "SimWiring"]

T = TypeVar("T")
_AT_ONCE = 2.0  # seconds: the way to Redis and back, no more
AnyWorker: TypeAlias = Worker | RealWorker


class SimWiring(Wiring):
    """The clients of one simulated process."""

    def __init__(self, scene: Scene, store: SimStore, publisher: Publisher) -> None:
        self.settings = scene.settings
        self.store = store.of_a_process()
        self.publisher = publisher
        self.storage = SimStorage(scene.objects, scene.storage_point, scene.now_us)


class Functions:
    """Calls of functions, each in a pod of its own: nothing is kept from one call to the next."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._count = 0
        self.store = SimStore(scene.settings, scene)
        self.publisher: Publisher

    def wiring(self) -> SimWiring:
        """The clients of a new process."""
        return SimWiring(self._scene, self.store, self.publisher)

    def pod(self, name: str) -> tuple[Process, SimWiring]:
        """A new process and its clients."""
        self._count += 1
        return Process(f"{name}-{self._count}"), self.wiring()

    def call(self, name: str, work: Callable[[Wiring], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """Do something in a pod."""
        process, wiring = self.pod(name)
        return self._scene.call(process, work(wiring))

    def completion(self, event: Event, gone: asyncio.Event) -> asyncio.Future[Answer]:
        """A Subscriber."""
        return self.call("completion", lambda wiring: post(completion_app(wiring), "/", event, gone))

    def dead_letters(self, event: Event, gone: asyncio.Event) -> asyncio.Future[Answer]:
        """A Subscriber."""
        return self.call("reaper", lambda wiring: post(reaper_app(wiring), "/dead-letters", event, gone))

    def round(self) -> asyncio.Future[Answer]:
        """What the PingSource does."""
        return self.call("reaper", lambda wiring: post(reaper_app(wiring), "/", None, asyncio.Event()))


class Pool:
    """Predictors, some of them up."""

    def __init__(
        self, scene: Scene, functions: Functions, slots: int, rules: Rules, scratch: Path | None
    ) -> None:
        """`rules`: of the short predictor. `scratch`: the folder of the real one, where it is that."""
        self._scene, self._functions, self._rules = scene, functions, rules
        self._scratch = scratch
        self._slots: list[tuple[Process, ASGIApp, AnyWorker] | None] = [None] * slots
        self._up_at = [0.0] * slots
        self._count = 0

    def predict(self, event: Event, gone: asyncio.Event) -> asyncio.Future[Answer]:
        """A Subscriber: any of those that are up."""
        scene, now = self._scene, self._scene.loop.time()
        if scene.faults.happens("pool is down for a while"):
            for index, slot in enumerate(self._slots):
                self._up_at[index] = now + scene.faults.between(10, 400)
                if slot is not None:
                    scene.kill(slot[0], "the pool goes down")
        slot = self._any_slot()
        if slot is None:
            nobody: asyncio.Future[Answer] = scene.loop.create_future()
            nobody.set_exception(Gone("no predictor is up"))
            return nobody
        process, app, worker = slot
        if scene.faults.happens("predictor gets SIGTERM"):
            scene.log.say(process.name, "SIGTERM")
            # Of the world: it happens also where the broker that posts this dies.
            nobodys = Context()
            pause = scene.faults.between(0, 40)
            scene.loop.call_later(pause, self._terminate, process, worker, context=nobodys)
        return scene.call(process, post(app, "/events", event, gone))

    def _any_slot(self) -> tuple[Process, ASGIApp, AnyWorker] | None:
        ready = [index for index in range(len(self._slots)) if self._ready(index)]
        return self._slots[self._scene.random.choice(ready)] if ready else None

    @property
    def real(self) -> bool:
        """Whether these are real predictors."""
        return self._scratch is not None

    async def call(self, data: Mapping[str, Any]) -> bool:
        """A call of `:predict`: it is answered with its video, or refused at once; whether it was taken."""
        scene, slot = self._scene, self._any_slot()
        if slot is None:
            return False
        process, _, worker = slot
        model = MochiModel("mochi-1", cast("Predictor", worker), QUEUES, 3600)
        began = scene.loop.time()
        scene.log.say(process.name, "is called")
        try:
            answer = await scene.call(process, model.predict({"instances": [dict(data)]}))
        except PoolBusy:
            waited = scene.loop.time() - began
            slept = process.stopped_until > began
            wrong = (
                f"{process.name} refuses after {waited:.1f} s" if waited > _AT_ONCE and not slept else None
            )
            scene.invariants.hold("a_call_is_answered_at_once_or_truly", wrong)
            return False
        except InternalError as error:
            scene.invariants.hold("no_defect_is_met", f":predict: {error}")
        except (Gone, MochiError) as error:
            scene.log.say("world", f"the call is answered {type(error).__name__}")
        else:
            scene.invariants.answered(answer["predictions"][0]["job"]["job_id"], scene.seen)
        return True

    def _terminate(self, process: Process, worker: AnyWorker) -> None:
        if not process.dead:
            worker.terminate()
        self._scene.loop.call_later(30, self._scene.kill, process, "the grace period is over")

    def _ready(self, index: int) -> bool:
        now, slot = self._scene.loop.time(), self._slots[index]
        if slot is not None and not slot[0].dead:
            return True
        if slot is not None:  # it died: a new pod comes up after a while
            self._slots[index] = None
            self._up_at[index] = max(self._up_at[index], now + self._scene.random.uniform(1, 20))
        if now < self._up_at[index]:
            return False
        self._slots[index] = self._start(index)
        return True

    def _start(self, index: int) -> tuple[Process, ASGIApp, AnyWorker]:
        self._count += 1
        process = Process(f"predictor-{self._count}")
        wiring = self._functions.wiring()
        worker = self._worker(index, process, wiring)
        app = Starlette()
        add_events_route(app, lambda: cast("Predictor", worker))  # it has what the route needs
        return process, app, worker

    def _worker(self, index: int, process: Process, wiring: SimWiring) -> AnyWorker:
        if self._scratch is not None:
            folder = self._scratch / f"slot-{index}"
            return RealWorker(self._scene, process, self._functions.store, wiring, folder)
        return Worker(self._scene, process, wiring.store, wiring.storage, wiring.publisher, self._rules)

    @property
    def busy(self) -> bool:
        """Whether any of them has something to do."""
        return any(slot is not None and not slot[0].dead and slot[2].busy for slot in self._slots)
