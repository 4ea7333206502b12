"""The predictor: claim a job, do its work, have recorded what came of it, say what to reply.

All I/O is handed in. One lock guards the GPU of the process. Knows no HTTP and no CloudEvents encoding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from eventing.dispatch import dispatch
from inference_service.checkpoints import Identity
from inference_service.errors import ShuttingDown
from inference_service.lease_keeper import LeaseKeeping
from inference_service.metrics import JOBS, SLICES
from inference_service.pace import Pace
from inference_service.pipeline import DeviceLost, StopReason
from inference_service.saver import Saver
from inference_service.settling import settle
from inference_service.tidying import sweep, tidy
from inference_service.tools import Tools
from inference_service.work import Limits, Work
from jobs.errors import MochiError, PoolBusy
from jobs.job import Delivery
from jobs.logs import trace_id
from jobs.store import Answered, Ignored, Lease

__all__ = ["SOURCE", "Predictor"]

#: The CloudEvent `source` of what the predictor says.
SOURCE = "/mochi/predictor"

#: Seconds after which a caller who is refused because the GPU is taken may try again.
_RETRY_AFTER = 10

log = structlog.get_logger(__name__)


class Predictor:
    """Does one job at a time. Everything but its threads runs on the event loop that calls it."""

    def __init__(self, tools: Tools, on_device_lost: Callable[[DeviceLost], None] = lambda _: None) -> None:
        """`on_device_lost`: called once the GPU is broken; the process is to end, and takes no more jobs."""
        self.tools = tools
        self._on_device_lost = on_device_lost
        self._pace = Pace(tools.pipeline.profile)
        self._lock = asyncio.Lock()  # guards the GPU
        self._tasks: dict[str, asyncio.Task[Delivery | None]] = {}  # by job: waiting or at work
        self._chores: set[asyncio.Task[None]] = set()  # what is left to do after a reply
        self._keeper: LeaseKeeping | None = None
        self._draining = False
        #: Whether the GPU is broken: this process ends.
        self.device_lost = False

    @property
    def busy(self) -> bool:
        """Whether it has anything left to do."""
        return bool(self._tasks or self._chores)

    async def sweep(self) -> None:
        """Remove what the scratch volume keeps in vain; never of the jobs at work."""
        await sweep(self.tools, self._tasks.keys())

    async def handle(self, job_id: str, delivery: int) -> Delivery | None:
        """What to reply to an event that wants the job done; None: nothing.

        Another job's event waits until the GPU is free, as long as its budget allows; a second one of the
        same job joins the first.
        The work goes on when the caller is cancelled. Raises StoreUnavailable, ShuttingDown.
        """
        while True:
            task = self._tasks.get(job_id)
            joined = task is not None
            if task is None:
                task = asyncio.create_task(self._alone(job_id, delivery), name=f"job-{job_id}")
                self._tasks[job_id] = task
            reply = await asyncio.shield(task)
            if reply is not None or not joined:
                return reply
            # What we joined came to nothing (its lease was lost, say): this event may be the job's new one.

    def publish_when_done(self, reply: asyncio.Task[Delivery | None]) -> None:
        """Send a reply to the Broker, because the connection that waited for it is gone."""
        self._do_later(self._publish(reply))

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
        """Take no new job and stop the one at work at its next step; whether all has ended.

        What has no steps may end within `grace` seconds. After them the job is handed over as it is, for
        which `patience` seconds are given.
        """
        self._draining = True
        if await self._ended(grace):
            return True
        if self._keeper is not None:
            self._keeper.abort(StopReason.SHUTDOWN)
        return await self._ended(patience)

    async def _ended(self, seconds: float) -> bool:
        give_up_at = self.tools.clock() + seconds
        # Again and again: the connection of a job at work may be lost meanwhile, and its reply published.
        while tasks := {*self._tasks.values(), *self._chores}:
            _, running = await asyncio.wait(tasks, timeout=max(0.0, give_up_at - self.tools.clock()))
            if running:
                return False
            await asyncio.sleep(0)  # its callbacks take a task that is done from these sets
        return True

    def _do_later(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _publish(self, reply: asyncio.Task[Delivery | None]) -> None:
        try:
            delivery = await reply
        except MochiError as error:
            log.warning("no_reply", reason=str(error))
            return
        if delivery is not None:
            log.info("reply_published", job=delivery.job_id, kind=delivery.kind)
            await self.publish(delivery)

    async def _alone(self, job_id: str, delivery: int) -> Delivery | None:
        try:
            return await self._do(job_id, delivery)
        finally:
            # Here, and not in a callback of the task's: to join one that is done would be to spin.
            del self._tasks[job_id]

    async def _do(self, job_id: str, delivery: int) -> Delivery | None:
        if not await self._gpu_in_time(delivery):
            reply = await self.tools.store.late(job_id, delivery)
            log.info("late", job=job_id, delivery=delivery, kind=reply and reply.kind)
            return reply
        try:
            if self._draining:
                raise ShuttingDown("this predictor is shutting down; another one takes the job")
            return await self._turn(job_id, delivery)
        finally:
            self._lock.release()

    async def _gpu_in_time(self, delivery: int) -> bool:
        """Take the GPU's lock, unless the delivery's budget holds no step any more by then."""
        place = asyncio.create_task(self._lock.acquire())  # first come, first served
        in_time = False
        try:
            left = await self._seconds_to_wait(delivery)
            if left > 0:
                await asyncio.wait({place}, timeout=left)
            in_time = left > 0 and place.done()
            return in_time
        finally:
            if not in_time and not place.cancel():
                self._lock.release()

    async def _seconds_to_wait(self, delivery: int) -> float:
        whole = self.tools.slice_seconds
        # A model whose step is longer than a slice works all the same, a step a slice.
        left = whole - min(self._pace.longest_step(), whole / 2)
        return left - (await self.tools.store.now_us() - delivery) / 1e6 if delivery else left

    async def _turn(self, job_id: str, delivery: int) -> Delivery | None:
        claimed_at = self.tools.clock()
        match await self.tools.store.claim(job_id, self.tools.slot):
            case Ignored(reason):
                log.info("ignored", job=job_id, delivery=delivery, reason=reason)
                return None
            case Answered(recorded):
                log.info("answered_again", job=job_id, delivery=delivery, kind=recorded.kind)
                return recorded
            case Lease() as lease:
                age = max(0, lease.claimed_us - delivery) / 1e6 if delivery else 0.0
                budget = self.tools.slice_seconds - age
                job, trace = lease.job, trace_id(lease.job.traceparent)
                with structlog.contextvars.bound_contextvars(
                    job=job.id, attempt=lease.attempt, queue=job.queue, trace=trace
                ):
                    log.info(
                        "claimed", delivery=delivery, budget=round(budget, 1), step=lease.checkpoint_step
                    )
                    return await self._work(lease, claimed_at, claimed_at + budget)

    async def _work(self, lease: Lease, claimed_at: float, until: float) -> Delivery | None:
        tools = self.tools
        SLICES.inc()
        identity = Identity.of(lease.job, tools.pipeline.identity)
        saver = Saver(lease, identity, tools.store, tools.storage, tools.files, self._pace, tools.clock)
        keeper = self._keeper = tools.keep(lease, claimed_at)
        try:
            keeper.start()
            limits = Limits(until, lambda: self._draining)
            work = Work(lease, keeper, tools, self._pace, saver, limits)
            outcome = await work.run()
            if work.device_lost is not None:
                self._lose_device(work.device_lost, keeper)
                await work.keep_last()
            saver.close()
            # The last phase is seen before the end is.
            await asyncio.to_thread(keeper.flush, 1.0)
            reply = await settle(tools, lease, keeper, outcome, work.device_lost)
        finally:
            saver.close()
            self._keeper = None
            await asyncio.to_thread(keeper.close)
        seconds = {str(phase): round(taken, 3) for phase, taken in work.clock.seconds.items()}
        if isinstance(outcome, StopReason):
            JOBS.labels(outcome).inc()
            log.info("stopped", reason=outcome, seconds=seconds)
        else:
            JOBS.labels(outcome.kind if reply else StopReason.LOST).inc()
            error = outcome.error.code if outcome.error else None
            log.info("recorded" if reply else "lost", outcome=outcome.kind, error=error, seconds=seconds)
        ended = reply is not None and reply.outcome is not None
        self._do_later(tidy(tools, lease.job.id, saver if ended else None, self._tasks.keys()))
        return reply

    def _lose_device(self, error: DeviceLost, keeper: LeaseKeeping) -> None:
        log.error("device_lost", reason=str(error), consequence="this process ends, another goes on")
        self._draining = self.device_lost = True
        keeper.abort(StopReason.SHUTDOWN)  # what is away is not waited for: the lease runs out
        self._on_device_lost(error)
