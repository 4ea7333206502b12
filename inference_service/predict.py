"""The predictor: claim a job, do its work, record what came of it, say what to reply.

All I/O is handed in. One lock guards the GPU of the process. Knows no HTTP and no CloudEvents encoding.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import structlog

from eventing.dispatch import dispatch
from eventing.publisher import Publisher
from inference_service.lease_keeper import LeaseKeeper, Renewing
from inference_service.metrics import JOBS
from inference_service.pipeline import StopReason, VideoPipeline
from inference_service.work import Work, growing_pauses
from jobs.errors import MochiError, PoolBusy, StoreUnavailable
from jobs.job import Delivery, Outcome
from jobs.logs import trace_id
from jobs.storage import VideoStorage
from jobs.store import Answered, Ignored, JobStore, Lease

__all__ = ["SOURCE", "Predictor", "ShuttingDown", "Tools"]

#: The CloudEvent `source` of what the predictor says.
SOURCE = "/mochi/predictor"

#: Seconds for which recording is tried again while Redis is away. The lease may still be ours then: after
#: a restart of Redis every lease is extended once.
_RECORD_PATIENCE = 600.0

#: Seconds after which a caller who is refused because the GPU is taken may try again.
_RETRY_AFTER = 10

log = structlog.get_logger(__name__)


class ShuttingDown(MochiError):
    """This process ends: another one is to do the job."""

    status = 503
    slug = "shutting-down"
    title = "The predictor is shutting down"
    retry_after = 1


@dataclass(frozen=True)
class Tools:
    """What the predictor works with."""

    store: JobStore
    storage: VideoStorage
    pipeline: VideoPipeline
    connect: Callable[[], Renewing]  # makes a store for the lease's own thread and event loop
    publisher: Publisher | None  # None: no Broker is known, and unsent replies are left to the reaper
    scratch_dir: Path  # of this process alone
    slot: str  # names this process in the job's record


class Predictor:
    """Does one job at a time. Everything but its threads runs on the event loop that calls it."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._gpu = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._lock = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[Delivery | None]] = {}  # by job: waiting or at work
        self._publishing: set[asyncio.Task[None]] = set()
        self._keeper: LeaseKeeper | None = None
        self._draining = False

    async def handle(self, job_id: str, delivery: int) -> Delivery | None:
        """What to reply to an event that wants the job done; None: nothing.

        Another job's event waits until the GPU is free; a second one of the same job joins the first.
        The work goes on when the caller is cancelled. Raises StoreUnavailable, ShuttingDown.
        """
        while True:
            task = self._tasks.get(job_id)
            joined = task is not None
            if task is None:
                task = asyncio.create_task(self._do(job_id, delivery), name=f"job-{job_id}")
                self._tasks[job_id] = task
                task.add_done_callback(lambda _: self._tasks.pop(job_id, None))
            reply = await asyncio.shield(task)
            if reply is not None or not joined:
                return reply
            # What we joined came to nothing (its lease was lost, say): this event may be the job's new one.

    def publish_when_done(self, reply: asyncio.Task[Delivery | None]) -> None:
        """Send a reply to the Broker, because the connection that waited for it is gone."""
        task = asyncio.create_task(self._publish(reply))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def publish(self, delivery: Delivery) -> None:
        """Send an event to the Broker. If that fails it is logged; the record says that it is due."""
        await self._dispatch([delivery])

    async def cancel(self, job_id: str) -> None:
        """Cancel a job that nobody waits for. Raises StoreUnavailable, JobNotFound."""
        await self._dispatch((await self.tools.store.cancel(job_id)).deliveries)

    async def _dispatch(self, deliveries: Sequence[Delivery]) -> None:
        if self.tools.publisher is None:
            for delivery in deliveries:
                log.warning("event_left_to_the_reaper", job=delivery.job_id, reason="K_SINK is not set")
            return
        await dispatch(self.tools.store, self.tools.publisher, SOURCE, deliveries)

    def check_free(self) -> None:
        """Raise ShuttingDown or PoolBusy where a new job would not be begun at once."""
        if self._draining:
            raise ShuttingDown("this predictor is shutting down")
        if self._tasks:
            raise PoolBusy(_RETRY_AFTER)

    async def end(self, grace: float, patience: float) -> bool:
        """Take no new job and let the one at work end; whether all has ended.

        After `grace` seconds the work is stopped at its next step, for which `patience` seconds are
        given, and the job is handed to another predictor.
        """
        self._draining = True
        if await self._ended(grace):
            return True
        if self._keeper is not None:
            self._keeper.abort(StopReason.SHUTDOWN)
        return await self._ended(patience)

    async def _ended(self, seconds: float) -> bool:
        give_up_at = time.monotonic() + seconds
        # Again and again: the connection of a job at work may be lost meanwhile, and its reply published.
        while tasks := {*self._tasks.values(), *self._publishing}:
            _, running = await asyncio.wait(tasks, timeout=max(0.0, give_up_at - time.monotonic()))
            if running:
                return False
            await asyncio.sleep(0)  # its callbacks take a task that is done from these sets
        return True

    async def _publish(self, reply: asyncio.Task[Delivery | None]) -> None:
        try:
            delivery = await reply
        except MochiError as error:
            log.warning("no_reply", reason=str(error))
            return
        if delivery is not None:
            log.info("reply_published", job=delivery.job_id, kind=delivery.kind)
            await self.publish(delivery)

    async def _do(self, job_id: str, delivery: int) -> Delivery | None:
        async with self._lock:
            if self._draining:
                raise ShuttingDown("this predictor is shutting down; another one takes the job")
            claimed_at = time.monotonic()
            match await self.tools.store.claim(job_id, self.tools.slot):
                case Ignored(reason):
                    log.info("ignored", job=job_id, delivery=delivery, reason=reason)
                    return None
                case Answered(recorded):
                    log.info("answered_again", job=job_id, delivery=delivery, kind=recorded.kind)
                    return recorded
                case Lease() as lease:
                    with structlog.contextvars.bound_contextvars(**_facts(lease)):
                        log.info("claimed", delivery=delivery)
                        return await self._work(lease, claimed_at)

    async def _work(self, lease: Lease, claimed_at: float) -> Delivery | None:
        tools = self.tools
        keeper = self._keeper = LeaseKeeper(lease, tools.connect, claimed_at)
        keeper.start()
        try:
            work = Work(lease, keeper, tools.pipeline, tools.storage, self._gpu, tools.scratch_dir)
            outcome = await work.run()
            if isinstance(outcome, StopReason):
                JOBS.labels(outcome).inc()
                log.warning("stopped", reason=outcome)
                return await self._handed_over(lease) if outcome is StopReason.SHUTDOWN else None
            # The last phase is seen before the end is.
            await asyncio.to_thread(keeper.flush, 1.0)
            reply = await self._record(lease, outcome, keeper)
        finally:
            self._keeper = None
            await asyncio.to_thread(keeper.close)
        seconds = {str(phase): round(taken, 3) for phase, taken in work.clock.seconds.items()}
        JOBS.labels(outcome.kind if reply else StopReason.LOST).inc()
        error = outcome.error.code if outcome.error else None
        log.info("recorded" if reply else "lost", outcome=outcome.kind, error=error, seconds=seconds)
        return reply

    async def _handed_over(self, lease: Lease) -> Delivery | None:
        """The event by which another predictor goes on with the job."""
        try:
            return await self.tools.store.yield_(lease)
        except StoreUnavailable:
            message = "this predictor is shutting down; the job starts again when its lease has run out"
            raise ShuttingDown(message) from None

    async def _record(self, lease: Lease, outcome: Outcome, keeper: LeaseKeeper) -> Delivery | None:
        give_up_at = time.monotonic() + _RECORD_PATIENCE
        async for _ in growing_pauses(longest=2.0):
            try:
                return await self.tools.store.record(lease, outcome)
            except StoreUnavailable as error:
                log.warning("record_retried", reason=str(error))
                if keeper.reason in (StopReason.LOST, StopReason.SHUTDOWN) or time.monotonic() > give_up_at:
                    return None
        raise AssertionError("the pauses never end")


class _Facts(TypedDict):
    job: str
    attempt: int
    queue: str
    trace: str | None


def _facts(lease: Lease) -> _Facts:
    """What every log line about a lease says."""
    job = lease.job
    return {"job": job.id, "attempt": lease.attempt, "queue": job.queue, "trace": trace_id(job.traceparent)}
