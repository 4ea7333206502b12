"""The real predictor in the simulated world: its threads take turns with the loop, its steps take their time.

What is replaced is what blocks: the keeper's thread is a task, and its condition a wait in simulated time;
the model is naps. Claim, slices, checkpoints, uploads, records and replies are the predictor's own.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from functions.wiring import Wiring
from inference_service.job_files import JobFiles
from inference_service.lease_keeper import LeaseKeeper
from inference_service.null_pipeline import NullPipeline
from inference_service.pipeline import Stop
from inference_service.predict import Predictor
from inference_service.tools import Tools
from jobs.leases import Lease
from tests.simulation.log import Step
from tests.simulation.loop import Process
from tests.simulation.scene import Scene
from tests.simulation.store import SimStore
from tests.simulation.worker import CHECKPOINT_SECONDS, SLICE_SECONDS, STEP_SECONDS

__all__ = ["RealWorker"]

_POLL = 1.0  # seconds between two looks of a thread at what it waits for


class SimKeeper(LeaseKeeper):
    """The real one, on the loop of its process."""

    def __init__(self, scene: Scene, store: SimStore, lease: Lease, claimed_at: float) -> None:
        super().__init__(lease, lambda: store, claimed_at, clock=scene.loop.time)
        self._scene = scene
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def close(self) -> None:
        self._closing = True
        self._wake_up()

    def check(self) -> None:
        while self._reason is None and self._clock() >= self._valid_until:
            self._scene.loop.block(_POLL)
        if self._reason is not None:
            raise Stop(self._reason)

    def flush(self, timeout: float) -> bool:
        until = self._clock() + timeout
        while self._unsent and self._clock() < until:
            self._scene.loop.block(_POLL)
        return not self._unsent


class RealWorker(Predictor):
    """A Predictor with simulated surroundings."""

    def __init__(
        self, scene: Scene, process: Process, store: SimStore, wiring: Wiring, scratch: Path
    ) -> None:
        self._scene, self._process = scene, process
        self._lease: Lease | None = None
        self._steps = 0

        def keep(lease: Lease, claimed_at: float) -> SimKeeper:
            self._lease = lease
            return SimKeeper(scene, store.of_a_process(), lease, claimed_at)

        super().__init__(
            Tools(
                store=wiring.store,
                storage=wiring.storage,
                pipeline=NullPipeline(self._nap),
                publisher=wiring.publisher,
                keep=keep,
                files=JobFiles(scratch / "jobs"),
                scratch_dir=scratch / process.name,
                slot=process.name,
                slice_seconds=SLICE_SECONDS,
                checkpoint_seconds=CHECKPOINT_SECONDS,
                clock=scene.loop.time,
                gpu=ThreadPoolExecutor(1),  # only named: the loop runs what blocks in its own way
            )
        )

    def terminate(self) -> None:
        """SIGTERM."""
        self._scene.call(self._process, self.end(5.0, 20.0))

    def _nap(self, _seconds: float) -> None:
        """A denoising step."""
        scene, lease = self._scene, self._lease
        if lease is None:
            raise AssertionError("no GPU work without a lease")
        self._steps += 1
        scene.log.say(self._process.name, f"GPU step of {lease.job.id} under {lease.token}")
        step = Step(self._process.name, lease.job.id, lease.token, self._steps, scene.now_us())
        scene.invariants.work(step, scene.seen)
        scene.blocking_point("within a step", STEP_SECONDS * scene.random.uniform(0.9, 1.1))
