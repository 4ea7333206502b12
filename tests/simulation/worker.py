"""A predictor as short as the protocol allows: claim, step, renew, checkpoint, yield, record, reply.

It stands for the real one where only the store and the functions are under test, and its rules can be
taken out one by one (`Rules`), to see that each is needed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from eventing.dispatch import dispatch
from eventing.publisher import Publisher
from jobs.errors import StorageUnavailable, StoreUnavailable
from jobs.job import Artifact, Delivery, EventKind, JobError, Outcome, Phase, ResultKind
from jobs.leases import Answered, Lease, Renewal
from jobs.storage import StoredObject, VideoStorage
from jobs.store import JobStore
from tests.simulation.log import Step
from tests.simulation.loop import Process
from tests.simulation.scene import Scene

__all__ = ["ALL_RULES", "CHECKPOINT_SECONDS", "SLICE_SECONDS", "STEP_SECONDS", "Rules", "Worker"]

STEP_SECONDS = 8.0
SLICE_SECONDS = 45.0
CHECKPOINT_SECONDS = 15.0
_RENEW_SECONDS = 10.0
_RECORD_PATIENCE = 300.0


@dataclass(frozen=True)
class Rules:
    """Those of a predictor. Each may be broken."""

    own_clock: bool = True  # no GPU work between the end of the lease by its own clock and a renewal
    heeds_lost: bool = True  # a lease that is lost stops the work
    record_first: bool = True  # the result is recorded before it is replied
    token_in_keys: bool = True
    durable_first: bool = True  # the checkpoint is stored before the job points to it
    gpu_lock: bool = True
    replies_recorded: bool = True  # what is replied is what the store said, not what was meant
    uploads_first: bool = True  # the video is stored before it is recorded


ALL_RULES = Rules()


class _Stop(Exception):
    def __init__(self, why: Renewal | None) -> None:
        self.why = why


class Worker:
    """Does one job at a time."""

    def __init__(
        self,
        scene: Scene,
        process: Process,
        store: JobStore,
        storage: VideoStorage,
        publisher: Publisher,
        rules: Rules,
    ) -> None:
        self._scene, self._process, self._store, self._storage = scene, process, store, storage
        self._publisher, self._rules = publisher, rules
        self._lock = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[Delivery | None]] = {}
        self._publishing: set[asyncio.Task[None]] = set()
        self._draining = False
        self._valid_until = 0.0
        self._renewed_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether it has anything left to do."""
        return bool(self._tasks or self._publishing)

    async def handle(self, job_id: str, delivery: int) -> Delivery | None:
        """As Predictor.handle."""
        task = self._tasks.get(job_id)
        if task is None:
            task = asyncio.create_task(self._do(job_id, delivery))
            self._tasks[job_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(job_id, None))
        return await asyncio.shield(task)

    def publish_when_done(self, reply: asyncio.Task[Delivery | None]) -> None:
        """As Predictor.publish_when_done."""
        task = asyncio.create_task(self._publish(reply))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    def terminate(self) -> None:
        """SIGTERM."""
        self._draining = True

    async def _publish(self, reply: asyncio.Task[Delivery | None]) -> None:
        try:
            delivery = await reply
        except StoreUnavailable:
            return
        if delivery is not None:
            await dispatch(self._store, self._publisher, "/mochi/predictor", [delivery])

    async def _do(self, job_id: str, delivery: int) -> Delivery | None:
        if not self._rules.gpu_lock:
            return await self._turn(job_id, delivery)
        asked_at = self._scene.loop.time()
        async with self._lock:
            waited = self._scene.loop.time() - asked_at
            age = (self._scene.now_us() - delivery) / 1e6
            if max(waited, age) > SLICE_SECONDS - STEP_SECONDS and not self._draining:
                return await self._store.late(job_id, delivery)
            return await self._turn(job_id, delivery)

    async def _turn(self, job_id: str, delivery: int) -> Delivery | None:
        sent_at = self._scene.loop.time()
        if self._draining:
            raise StoreUnavailable("shutting down")
        lease = await self._store.claim(job_id, self._process.name)
        if isinstance(lease, Answered):
            return lease.delivery
        if not isinstance(lease, Lease):
            return None
        self._valid_until, self._renewed_at = sent_at + lease.seconds, sent_at
        budget = SLICE_SECONDS - max(0, self._scene.now_us() - delivery) / 1e6
        try:
            return await self._work(lease, sent_at + max(budget, STEP_SECONDS + 1))
        except _Stop as stop:
            return await self._stopped(lease, stop.why)
        except StorageUnavailable as error:
            failure = JobError("storage_unavailable", str(error))
            return await self._record(lease, Outcome(ResultKind.FAILED, lease.token, error=failure))

    async def _work(self, lease: Lease, until: float) -> Delivery | None:
        loop, steps = self._scene.loop, lease.job.spec.num_inference_steps
        done, kept_at = lease.checkpoint_step, loop.time()
        kept = done
        while done < steps:
            out_of_time = loop.time() + STEP_SECONDS > until and done > lease.checkpoint_step
            if out_of_time or self._draining:
                if done > kept:
                    await self._checkpoint(lease, done)
                return await self._store.yield_(lease)
            await self._gpu(lease, done)
            done += 1
            if loop.time() - kept_at >= CHECKPOINT_SECONDS and done < steps:
                kept = done if await self._checkpoint(lease, done) else kept
                kept_at = loop.time()
        await self._renew(lease, Phase.UPLOADING, steps)
        attempt = f"{lease.attempt}-{lease.token}" if self._rules.token_in_keys else "video"
        key = f"videos/{lease.job.id}/{attempt}/video.mp4"
        body = f"{lease.job.id} by {self._process.name} at {self._scene.loop.time()}".encode()
        if not self._rules.uploads_first:
            self._scene.objects.bodies[key], self._scene.objects.modified[key] = b"", 0
            stored = self._scene.objects.described(key)
            del self._scene.objects.bodies[key]
        else:
            stored = await self._put(key, body)
        if stored is None:
            raise AssertionError("it was put")
        artifact = Artifact(key, stored.s3_url, stored.etag, stored.bytes)
        return await self._record(lease, Outcome(ResultKind.COMPLETED, lease.token, artifact))

    async def _gpu(self, lease: Lease, done: int) -> None:
        """One step, in pieces, so that the lease is renewed meanwhile."""
        loop = self._scene.loop
        await self._renew(lease, Phase.DENOISING, done)
        while self._rules.own_clock and loop.time() >= self._valid_until:
            await asyncio.sleep(1)
            await self._renew(lease, Phase.DENOISING, done, now=True)
        step = Step(self._process.name, lease.job.id, lease.token, done, self._scene.now_us())
        self._scene.log.say(self._process.name, f"GPU step {done} of {lease.job.id} under {lease.token}")
        self._scene.invariants.work(step, self._scene.seen)
        await asyncio.sleep(STEP_SECONDS * self._scene.random.uniform(0.9, 1.1))
        await self._scene.point("within a step")

    async def _renew(self, lease: Lease, phase: Phase, step: int, *, now: bool = False) -> None:
        loop = self._scene.loop
        if not now and loop.time() - self._renewed_at < _RENEW_SECONDS and step:
            return
        sent_at = loop.time()
        try:
            answer = await self._store.renew(lease, phase, step)
        except StoreUnavailable:
            return
        if answer is Renewal.LOST and not self._rules.heeds_lost:
            return
        if answer is not Renewal.OK:
            raise _Stop(answer)
        self._renewed_at, self._valid_until = sent_at, sent_at + lease.seconds

    async def _checkpoint(self, lease: Lease, step: int) -> bool:
        key = f"checkpoints/{lease.job.id}/{lease.attempt}-{lease.token}/{step}"
        try:
            if self._rules.durable_first:
                await asyncio.to_thread(self._storage.put, key, b"latents", "")
            kept = await self._store.checkpoint(lease, key, step)
            if not self._rules.durable_first:
                await asyncio.to_thread(self._storage.put, key, b"latents", "")
        except (StoreUnavailable, StorageUnavailable):
            return False
        return kept

    async def _put(self, key: str, body: bytes) -> StoredObject | None:
        for turn in range(6):
            try:
                return await asyncio.to_thread(self._storage.put, key, body, "video/mp4")
            except StorageUnavailable:
                if turn == 5:
                    raise
                await asyncio.sleep(2**turn)
        return None

    async def _stopped(self, lease: Lease, why: Renewal | None) -> Delivery | None:
        if why is Renewal.CANCEL:
            return await self._record(lease, Outcome(ResultKind.CANCELLED, lease.token))
        if why is Renewal.DEADLINE:
            error = JobError("deadline_exceeded", "too late")
            return await self._record(lease, Outcome(ResultKind.FAILED, lease.token, error=error))
        return None

    async def _record(self, lease: Lease, outcome: Outcome) -> Delivery | None:
        meant = Delivery(
            kind=EventKind(outcome.kind),
            job_id=lease.job.id,
            queue=lease.job.queue,
            delivery=self._scene.now_us(),
            attempt=lease.attempt,
            outcome=outcome,
        )
        if not self._rules.record_first:
            self._scene.loop.create_task(self._store.record(lease, outcome))
            return meant
        give_up_at = self._scene.loop.time() + _RECORD_PATIENCE
        while True:
            try:
                recorded = await self._store.record(lease, outcome)
            except StoreUnavailable:
                if self._scene.loop.time() > give_up_at:
                    return None
                await asyncio.sleep(2)
                continue
            return recorded if self._rules.replies_recorded else meant
