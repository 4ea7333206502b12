"""What every actor of a run stands on: time, the link to Redis, faults, the log, and the points of I/O.

A point lies before and after every effect. There the process at work may die, sleep, or wait while others
go on; so every order of effects, and every death between two of them, has a seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

import hiredis
from redis import exceptions

from jobs.errors import StorageUnavailable
from jobs.settings import Settings
from tests.simulation.faults import Faults
from tests.simulation.invariants import Invariants
from tests.simulation.link import QUEUES, Link, Seen
from tests.simulation.log import Log, Transition
from tests.simulation.loop import PROCESS, Process, new_loop
from tests.simulation.lost_second import LostSecond
from tests.simulation.storage import Objects

__all__ = ["START_US", "Gone", "Scene"]

T = TypeVar("T")

START_US = 1_800_000_000_000_000  # Redis' clock at the start of a run
_LOSES = "redis loses its last second"
_LONG_SLEEP = (20.0, 200.0)  # seconds; a lease has 60


class Gone(Exception):
    """The process that was called has died."""


class Scene:
    """One run's."""

    def __init__(self, seed: int, link: Link, settings: Settings, faults: Faults) -> None:
        self.seed = seed
        self.loop = new_loop()
        self.link, self.settings, self.faults = link, settings, faults
        self.random = random.Random(f"latencies {seed}")
        self.objects = Objects(settings.aws_s3_bucket)
        self.log = Log(self.now_us)
        self.invariants = Invariants(self.log, settings, self.objects, self.loop.fail)
        nobody: dict[str, tuple[str, ...]] = dict.fromkeys(QUEUES, ())
        self.seen = Seen(backlog=nobody, delayed=nobody)
        self.redis_back_at = 0.0
        self.redis_full_until = 0.0
        self._lost_second = LostSecond(link, self.log) if _LOSES in faults.rates else None
        self._ids = random.Random(f"ids {seed}")
        self._jobs: list[str] = []

    def now_us(self) -> int:
        """Redis' clock."""
        return START_US + round(self.loop.time() * 1e6)

    def new_id(self) -> str:
        """A job id, which the look at Redis shows from now on."""
        job = f"{self._ids.getrandbits(128):032x}"
        self._jobs.append(job)
        self.log.name(job)
        return job

    # Processes

    def call(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Let a process do something. The future fails with Gone when it dies before it answers."""
        answer = self.loop.create_future()
        context = copy_context()
        context.run(PROCESS.set, process)
        task = context.run(self.loop.create_task, work)
        process.calls.add(answer)
        task.add_done_callback(lambda done: self._answer(process, done, answer), context=context)
        return answer

    def _answer(self, process: Process, done: asyncio.Task[Any], answer: asyncio.Future[Any]) -> None:
        process.calls.discard(answer)
        if done.cancelled() or answer.done():
            return
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def kill(self, process: Process, why: str) -> None:
        """The process never does anything again."""
        if process.dead:
            return
        process.dead = True
        self.log.say(process.name, f"DIES: {why}")
        for answer in process.calls:
            if not answer.done():
                answer.set_exception(Gone(process.name))
                answer.exception()  # whoever waits sees it; nobody has to
        process.calls.clear()

    # Points

    def _meets(self, what: str) -> tuple[float, bool]:
        """How long the process at work waits here, and whether it lives."""
        process = PROCESS.get()
        if process is not None:
            kind = process.name.split("-", 1)[0]
            kind = kind if kind in ("predictor", "client") else "function"
            if self.faults.happens(f"{kind} dies"):
                self.kill(process, what)
                return 0, False
            if kind == "function" and self.faults.happens("function is slow"):
                return self.faults.between(1, 150), True
            if kind == "predictor" and self.faults.happens("predictor sleeps past its lease"):
                process.stopped_until = self.loop.time() + self.faults.between(*_LONG_SLEEP)
                self.log.say(process.name, f"SLEEPS {process.stopped_until - self.loop.time():.1f} s: {what}")
        return self.random.choice((0.0005, 0.002, 0.05)) * self.random.random(), True

    async def point(self, what: str) -> None:
        """Somebody else may come first; the process at work may die or sleep."""
        if self.loop.burying:
            raise asyncio.CancelledError
        wait, lives = self._meets(what)
        if not lives:
            await self.loop.create_future()  # for ever
        await asyncio.sleep(wait)

    def blocking_point(self, what: str, seconds: float = 0.0) -> None:
        """The same, for what runs in a thread and takes so many seconds."""
        wait, lives = self._meets(what)
        self.loop.block(seconds + wait if lives else 0.0)

    # Redis

    async def before_redis(self, transition: str) -> None:
        """On the way to Redis. Raises redis' ConnectionError."""
        await self.point(f"before {transition}")
        if self.faults.happens("redis is away"):
            self.redis_back_at = self.loop.time() + self.faults.between(1, 90)
            self.log.say("redis", f"AWAY until {self.redis_back_at:.3f}")
        if self.faults.happens("redis restarts"):
            self.link.run_id += 1
            self.log.say("redis", "RESTARTS")
        if self._lost_second is not None and self.faults.happens(_LOSES):
            self.link.run_id += 1
            self.seen = self._lost_second.lose(self.now_us(), self.seen, self.faults.between(0, 1))
            self.log.say(
                "redis", f"RESTARTS without its last second: {len(self.log.shaken)} jobs lost something"
            )
        if self.faults.happens("redis is out of memory"):
            self.redis_full_until = self.loop.time() + self.faults.between(1, 90)
            self.log.say("redis", f"FULL until {self.redis_full_until:.3f}")
        if self.loop.time() < self.redis_back_at:
            raise exceptions.ConnectionError("away")

    async def after_redis(self, transition: str) -> None:
        """On the way back. Raises redis' ConnectionError or TimeoutError."""
        if self.faults.happens("redis takes a call and does not answer"):
            self.log.say("redis", f"DOES NOT ANSWER {transition}")
            lost = self.faults.random.choice((exceptions.ConnectionError, exceptions.TimeoutError))
            raise lost("no answer")
        await self.point(f"after {transition}")

    def transition(self, pool_text: str, name: str, arguments: list[str]) -> Any:  # noqa: ANN401  # what the script answers
        """Run one, look, and check. Its answer may be an error."""
        process, now = PROCESS.get(), self.now_us()
        who = process.name if process else "world"
        if self._lost_second is not None:
            self._lost_second.keep(name, now, self.seen)
        full = self.loop.time() < self.redis_full_until
        answer, after = self.link.call(now, [name, pool_text, *arguments], self._jobs, full=full)
        before, self.seen = self.seen, after
        if isinstance(answer, hiredis.ReplyError):
            self.log.say(who, f"{name}: {answer}")
            self.invariants.refused(name, str(answer), before, after)
            return answer
        tag, deliveries = answer[0], tuple(map(tuple, answer[1]))
        extra = tuple(answer[4]) if name == "audit" else ()
        t = Transition(who, name, tuple(arguments), tag, deliveries, before, after, now, extra)
        self.log.transitions += 1
        if before is not after or name not in ("due", "tick", "expire", "boot"):
            said = [f"{d[0]}({d[1]}, {d[3]})" for d in deliveries]
            shown = [a if len(a) < 60 else f"{a[:20]}…" for a in arguments]
            self.log.say(who, f"{name} {' '.join(shown)} → {tag} {' '.join(said)}")
        self.invariants.around(t)
        return answer

    # The object store

    def storage_point(self, what: str, after: bool) -> None:
        """Around an effect on the object store. Raises StorageUnavailable."""
        self.blocking_point(f"{'after' if after else 'before'} {what}")
        kind = "object store takes an object and does not say so" if after else "object store is away"
        if self.faults.happens(kind):
            self.log.say("storage", f"{kind.upper()}: {what}")
            raise StorageUnavailable(kind)
        if after:
            self.log.say("storage", what)
