"""One run: a small world drawn from a seed, what goes wrong in it, and the invariants at its end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eventing.events import event_for
from functions.reaper.sweep import Sweep
from functions.submit.submitter import SOURCE
from jobs.job import Delivery, EventKind, JobError, Outcome, ResultKind
from jobs.scripts import Script, transitions
from jobs.settings import Settings
from tests.simulation.broker import Broker, SimPublisher
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults, is_focused
from tests.simulation.invariants import Violation
from tests.simulation.link import CLOCK, POOL, QUEUES, Link
from tests.simulation.log import Log
from tests.simulation.pods import Functions, Pool
from tests.simulation.scene import START_US, Scene
from tests.simulation.worker import ALL_RULES, Rules

__all__ = ["Failed", "Result", "World", "has_real_predictor", "run"]

_ROUNDS = (60.0, 60.0, 240.0)  # seconds between two rounds of the reaper
_PATIENCE = 15_000.0  # simulated seconds after the last fault within which every job has ended


def is_fair(seed: int) -> bool:
    """Whether it has many short jobs in two queues, of which one may wake late."""
    return seed % 20 == 7


def has_real_predictor(seed: int) -> bool:
    """Whether the predictor is the real one, and may be called by `:predict`."""
    return seed % 6 == 1 and not is_fair(seed)


@dataclass(frozen=True)
class Result:
    """A run in which all invariants hold."""

    seed: int
    jobs: int
    transitions: int
    events: int
    steps: int
    ends: Counter[str]
    faults: Counter[str]
    checked: Counter[str]
    seconds: float  # simulated
    trace: str = ""  # of `trace_too`


class Failed(AssertionError):
    """A run in which one does not. `trace` is what happened before."""

    def __init__(self, seed: int, invariant: str, what: str, trace: str) -> None:
        self.seed, self.invariant, self.what, self.trace = seed, invariant, what, trace
        super().__init__(f"seed {seed}: {invariant}: {what}")

    def __reduce__(self) -> tuple[type[Failed], tuple[int, str, str, str]]:
        return type(self), (self.seed, self.invariant, self.what, self.trace)


def run(
    seed: int,
    link: Link,
    script: Script | None = None,
    rules: Rules = ALL_RULES,
    *,
    trace_too: bool = False,
) -> Result:
    """Run the world of a seed. Raises Failed."""
    world = World(seed, link, script, rules)
    result = world.run()
    return replace(result, trace=world.log.text(START_US)) if trace_too else result


class World:
    """The actors of one run."""

    def __init__(self, seed: int, link: Link, script: Script | None, rules: Rules) -> None:
        self.seed = seed
        self.draw = random.Random(f"world {seed}")
        draw = self.draw
        faults = Faults(seed)
        self.settings = Settings(
            pool=POOL,
            pool_limit=draw.choice((1, 1, 2)),
            # Six events in a row that never arrive take 127 times as long.
            pool_grace_seconds=20 if "a Trigger is gone for a while" in faults.rates else 90,
            lease_seconds=60,
            queues=dict.fromkeys(QUEUES, 1.0),
            backlog_limit=draw.choice((2, 100, 100)),
            model_name="tiny-mochi",
            k_sink="http://broker",
        )
        link.flush()
        link.load(script or transitions(CLOCK))
        self.scene = Scene(seed, link, self.settings, faults)
        self.functions = Functions(self.scene)
        self._fair = is_fair(seed)
        slots = draw.choice((1, 2, 2, 3))
        real = rules == ALL_RULES and has_real_predictor(seed)
        self._scratch = TemporaryDirectory(prefix="sim-") if real else None
        scratch = Path(self._scratch.name) if self._scratch else None
        self.pool = Pool(self.scene, self.functions, slots, rules, scratch)
        self.broker = Broker(
            self.scene, self.pool.predict, self.functions.completion, self.functions.dead_letters
        )
        self.functions.publisher = SimPublisher(self.broker)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._done = False
        self._ends: Counter[str] = Counter()
        self._clients = Clients(self.scene, self.functions, self.pool, self._start, fair=self._fair)

    @property
    def log(self) -> Log:
        """What has happened."""
        return self.scene.log

    def run(self) -> Result:
        """Raises Failed."""
        with self._scratch or nullcontext():
            return self._run()

    def _run(self) -> Result:
        try:
            self.scene.loop.run(self._main())
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, Violation):
                cause = cause.__cause__ or cause.__context__
            name, what = (cause.invariant, cause.what) if cause else ("no_crash", f"{error!r}")
            raise Failed(self.seed, name, what, self.log.text(START_US)) from error
        log = self.log
        return Result(
            seed=self.seed,
            jobs=len(log.books.jobs),
            transitions=log.transitions,
            events=len(log.events),
            steps=len(log.steps),
            ends=self._ends,
            faults=self.scene.faults.counts,
            checked=log.checked,
            seconds=self.scene.loop.time(),
        )

    async def _main(self) -> None:
        loop, faults = self.scene.loop, self.scene.faults
        for index in range(
            15 if self._fair else self.draw.choice((5, 6) if is_focused(self.seed) else (2, 3, 3, 4))
        ):
            self._start(self._clients.one(index))
        self._start(self._ping_source())
        self._start(self._echo())
        calm_at = loop.time() + self.draw.choice((150, 400, 900))
        while loop.time() < calm_at and not self._quiet():  # noqa: ASYNC110  # simulated: nobody waits
            await asyncio.sleep(10)
        faults.on = False
        self.scene.redis_back_at = self.scene.redis_full_until = 0.0
        self.log.say("world", "no more faults")
        patience = 0.0
        while not self._quiet():
            patience += 20 if self._unfinished() else 400
            if patience > _PATIENCE:
                raise Violation("every_job_ends", f"{self._unfinished()} after {_PATIENCE:.0f} s")
            await asyncio.sleep(20)
        self.scene.invariants.ended(self.scene.seen)
        self._ends = Counter(record.status for record in self.scene.seen.records.values())
        await self._forget_all()

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = self.scene.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unfinished(self) -> list[str]:
        return [job for job, record in self.scene.seen.records.items() if not record.terminal]

    def _quiet(self) -> bool:
        waits = len(self._tasks) > 2 or self.broker.in_flight or self.pool.busy or self.scene.seen.outbox
        return not waits and not self._unfinished()

    async def _ping_source(self) -> None:
        faults, pause = self.scene.faults, self.draw.choice(_ROUNDS)
        while not self._done:
            await asyncio.sleep(pause)
            if not faults.on:
                await self._skip()
            if faults.happens("a round of the reaper is missed"):
                continue
            count = 2 if faults.happens("two rounds of the reaper at once") else 1
            await asyncio.gather(*(self.functions.round() for _ in range(count)), return_exceptions=True)

    async def _skip(self) -> None:
        """Rounds in which nothing can be due are left out."""
        if self.broker.in_flight or self.pool.busy or len(self._tasks) > 2:
            return
        seen = self.scene.seen
        if not seen.credits or any(seen.delayed.values()) or seen.outbox or seen.waiting:
            return
        wait = (min(seen.credits.values()) - self.scene.now_us()) / 1e6
        await asyncio.sleep(max(0, wait))

    async def _echo(self) -> None:
        """Results of leases that a job has left behind, such as a Redis that lost a second would leave."""
        draw, faults, log = random.Random(f"echo {self.seed}"), self.scene.faults, self.scene.log
        while not self._done:
            await asyncio.sleep(draw.uniform(5, 60))
            jobs = [job for job in log.books.jobs if len(log.books.grants[job]) > 1]
            if not jobs or not faults.happens("an old result arrives"):
                continue
            job = draw.choice(jobs)
            outcome = Outcome(
                ResultKind.FAILED, log.books.grants[job][-2].token, error=JobError("old", "of old")
            )
            delivery = Delivery(EventKind.FAILED, job, QUEUES[0], self.scene.now_us(), 1, outcome=outcome)
            log.say("world", f"OLD RESULT of {job} under {outcome.token}")
            answer = self.functions.completion(event_for(delivery, SOURCE), asyncio.Event())
            await asyncio.gather(answer, return_exceptions=True)

    async def _forget_all(self) -> None:
        """The retention passes: records and objects go."""
        scene = self.scene
        self._done = True
        await asyncio.sleep(self.settings.retention_seconds + 90_000)
        await self.functions.round()
        now = datetime.fromtimestamp(scene.now_us() / 1e6, UTC) + timedelta(days=9)
        await self.functions.call("reaper", lambda wiring: Sweep(wiring).run(now))
        scene.invariants.gone(sorted(scene.link.ask("KEYS", "*")))
