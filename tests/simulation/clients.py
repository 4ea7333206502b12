"""The clients of a run: they submit, ask again, cancel, and call `:predict`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from eventing.dispatch import dispatch
from functions.submit.metrics import Metrics
from functions.submit.submitter import SOURCE, Submitter
from functions.wiring import Wiring
from jobs.errors import BacklogFull, InvalidRequest, JobNotFound, MochiError
from jobs.job import rfc3339
from tests.simulation.link import QUEUES
from tests.simulation.pods import Functions, Pool
from tests.simulation.scene import Gone, Scene

__all__ = ["Clients"]

_METRICS = Metrics()
_CALLS = 0.3  # share of the clients that call the real predictor


class Clients:
    """Of one run. `fair`: many short jobs in two queues."""

    def __init__(
        self,
        scene: Scene,
        functions: Functions,
        pool: Pool,
        start: Callable[[Coroutine[Any, Any, object]], None],
        *,
        fair: bool,
    ) -> None:
        """`start`: begins what nobody waits for."""
        self._scene, self._functions, self._pool = scene, functions, pool
        self._start, self._fair = start, fair

    async def one(self, index: int) -> None:
        """One job, from its submission to the client's last word about it."""
        scene, faults = self._scene, self._scene.faults
        draw = random.Random(f"client {scene.seed} {index}")
        data = await self._wanted(draw, index)
        if self._pool.real and draw.random() < _CALLS:
            await asyncio.sleep(draw.uniform(0, 200))
            while not await self._pool.call(data) and faults.on:  # noqa: ASYNC110  # a client that tries again
                await asyncio.sleep(draw.uniform(1, 60))
            return
        if faults.happens("client asks twice"):
            self._start(self._submit(index, data))
        job_id = await self._submit(index, data)
        if job_id is None or not faults.happens("client cancels"):
            return
        await asyncio.sleep(draw.choice((0.0, draw.uniform(0, 60), draw.uniform(0, 300))))
        await self._cancel(job_id)
        scene.log.say(f"client-{index}", f"asked to cancel at {scene.loop.time():.3f}")

    async def _wanted(self, draw: random.Random, index: int) -> Mapping[str, Any]:
        """A request, when the time for it has come."""
        queue = QUEUES[index % 2 if self._fair else draw.random() < 0.4]
        if self._fair:
            await asyncio.sleep(draw.random() if index % 2 == 0 else 90 + draw.random())
        else:
            await asyncio.sleep(draw.choice((0.0, 0.0, draw.uniform(0, 120))))
        deadline = {}
        if self._scene.faults.happens("a deadline"):
            deadline["deadline"] = rfc3339(self._scene.now_us() + round(draw.uniform(1, 300) * 1e6))
        return {
            "prompt": f"video {index}",
            "queue": queue,
            "num_inference_steps": 2 if self._fair else draw.choice((2, 4, 6)),
            "width": 32,
            "height": 32,
            "num_frames": 7,
            "seed": index,
            **deadline,
        }

    async def _submit(self, index: int, data: object) -> str | None:
        for _ in range(100):
            try:
                return await self._functions.call(
                    "submit", lambda wiring: _submit(wiring, data, f"key {index}")
                )
            except InvalidRequest:
                return None  # its deadline has passed
            except BacklogFull:
                await asyncio.sleep(30)
            except (Gone, MochiError):
                await asyncio.sleep(5)
        return None

    async def _cancel(self, job_id: str) -> None:
        for _ in range(5):
            try:
                await self._functions.call("submit", lambda wiring: _cancel(wiring, job_id))
            except JobNotFound:
                return
            except (Gone, MochiError):
                await asyncio.sleep(3)
                continue
            return


async def _submit(wiring: Wiring, data: object, key: str) -> str:
    submission = await Submitter(wiring, _METRICS).submit(data, key, "", door="http")
    return submission.job.id


async def _cancel(wiring: Wiring, job_id: str) -> None:
    ended = await wiring.store.cancel(job_id)
    await dispatch(wiring.store, wiring.publisher, SOURCE, ended.deliveries)
