"""Keeps the lease of the job at work: a thread that renews it and reports phase and progress.

A thread with an event loop and a store connection of its own, so that neither the model's work nor a
busy server keeps it from renewing. It knows no model: it hears of phases and steps, and its `check`
stops the work when the lease says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog

from inference_service.pipeline import Stop, StopReason
from jobs.errors import StoreUnavailable
from jobs.job import Phase
from jobs.store import Lease, Renewal

__all__ = ["PHASE_LIMITS", "RENEWALS_A_LEASE", "LeaseKeeper", "LeaseKeeping", "Renewing"]

#: Seconds without progress after which a phase counts as stuck: the lease is renewed no more, the job goes
#: to another, and this process ends. Each is several times what the phase takes at full size on the slowest
#: GPU that fits it.
PHASE_LIMITS: Mapping[Phase, float] = MappingProxyType(
    {
        Phase.ENCODING_PROMPT: 300.0,  # no steps; with offloading, 10 GB of text encoder come from disk first
        Phase.DENOISING: 300.0,  # a step: seconds on a data-centre GPU; the first one also tunes its kernels
        Phase.DECODING: 900.0,  # no steps; 163 tiled frames take minutes
        Phase.ENCODING: 300.0,  # no steps; x264 makes 163 frames in seconds on one core
        Phase.UPLOADING: 900.0,  # no steps; longer than an upload is tried while the object store is away
    }
)

#: Renewals within a lease's time while nothing happens: 10 s apart for 60 s, and five may fail in a row.
RENEWALS_A_LEASE = 6

_PROGRESS_PAUSE = 0.2  # seconds between two reports of progress in one phase
_RETRY_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds after failures; the last one from then on


class Renewing(Protocol):
    """What the keeper needs of a JobStore."""

    async def renew(self, lease: Lease, phase: Phase, step: int, /) -> Renewal:
        """See JobStore.renew."""

    async def close(self) -> None:
        """Close the connections."""


class LeaseKeeping(Protocol):
    """What the work needs of a keeper. `check` and `report` block, `close` and `flush` may."""

    def start(self) -> None:
        """Renew from now on."""

    def close(self) -> None:
        """Renew no more."""

    @property
    def reason(self) -> StopReason | None:
        """Why the work is to stop, or None."""

    def announce(self, phase: Phase, step: int) -> None:
        """Take note of a phase and the denoising steps done; never blocks."""

    def check(self) -> None:
        """Raise Stop if the work is to stop; wait while the lease may be another's."""

    def report(self, phase: Phase, step: int) -> None:
        """Announce, then check."""

    def abort(self, reason: StopReason) -> None:
        """Make the next check raise Stop."""

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all that was announced is pushed; whether it is."""


class LeaseKeeper:
    """Start it before the work, close it after. Its methods may be called from any thread."""

    def __init__(
        self,
        lease: Lease,
        connect: Callable[[], Renewing],
        claimed_at: float,
        limits: Mapping[Phase, float] = PHASE_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        stuck: Callable[[str], object] = lambda _reason: None,
    ) -> None:
        """`claimed_at`: the clock's time just before the claim was sent; the lease is no younger.

        `stuck` is told, in the keeper's thread, that a phase makes no progress; it must not block.
        """
        self._lease = lease
        self._connect = connect
        self._limits = limits
        self._clock = clock
        self._stuck = stuck
        self._changed = threading.Condition()
        # All below is guarded by the condition.
        self._valid_until = claimed_at + lease.seconds
        self._current = (Phase.ENCODING_PROMPT, lease.checkpoint_step)
        self._unsent: deque[tuple[Phase, int]] = deque()  # each phase once, with its latest step
        self._sent_phase: Phase | None = None
        self._progress_at = self._clock()
        self._tried_at = claimed_at
        self._failures = 0
        self._reason: StopReason | None = None
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name=f"lease-{lease.job.id[:8]}", daemon=True)
        # A new thread has none of the facts that are bound to its maker's log lines.
        self._log = structlog.get_logger(__name__).bind(
            job=lease.job.id, attempt=lease.attempt, queue=lease.job.queue
        )

    def __enter__(self) -> LeaseKeeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Renew from now on."""
        self._thread.start()

    def close(self) -> None:
        """Renew no more. Blocks for at most one call that Redis does not answer."""
        with self._changed:
            self._closing = True
        self._wake_up()
        self._thread.join(timeout=5)  # the thread is a daemon

    @property
    def reason(self) -> StopReason | None:
        """Why the work is to stop, or None."""
        with self._changed:
            return self._reason

    def announce(self, phase: Phase, step: int) -> None:
        """Take note of a phase and the denoising steps done; never blocks. Every phase is pushed."""
        with self._changed:
            if self._unsent and self._unsent[-1][0] is phase:
                self._unsent.pop()
            self._unsent.append((phase, step))
            self._current = (phase, step)
            self._progress_at = self._clock()
        self._wake_up()

    def check(self) -> None:
        """Raise Stop if the work is to stop. Called between two pieces of GPU work.

        Blocks while by this machine's clock the lease has run out and no renewal has succeeded since:
        another may hold the job, and two GPUs must not work on it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._reason or self._clock() < self._valid_until)
            if self._reason is not None:
                raise Stop(self._reason)

    def report(self, phase: Phase, step: int) -> None:
        """Announce, then check."""
        self.announce(phase, step)
        self.check()

    def abort(self, reason: StopReason) -> None:
        """Make the next check raise Stop."""
        with self._changed:
            self._reason = self._reason or reason
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all that was announced is pushed; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unsent, timeout)

    def _wake_up(self) -> None:
        with self._changed:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def _main(self) -> None:
        try:
            asyncio.run(self._keep())
        except Exception:  # noqa: BLE001  # a defect: without this thread the work must not go on
            self._log.exception("lease_thread_failed")
            with self._changed:
                self._reason = StopReason.LOST
                self._changed.notify_all()

    async def _keep(self) -> None:
        with self._changed:
            self._loop = asyncio.get_running_loop()
        store = self._connect()
        try:
            while not self._closing and self._reason is not StopReason.LOST:
                self._wake.clear()
                wait = self._seconds_to_wait()
                if wait is not None and wait <= 0:
                    await self._renew(store)
                    continue
                with contextlib.suppress(TimeoutError):  # then it is time to renew
                    await asyncio.wait_for(self._wake.wait(), wait)
        finally:
            with self._changed:
                self._loop = None
            await store.close()

    def _seconds_to_wait(self) -> float | None:
        """Until the next renewal; None: none is due before something happens."""
        with self._changed:
            now = self._clock()
            if self._failures:
                pause = _RETRY_PAUSES[min(self._failures, len(_RETRY_PAUSES)) - 1]
                return self._tried_at + pause - now
            if self._unsent and (len(self._unsent) > 1 or self._unsent[0][0] is not self._sent_phase):
                return 0
            if self._unsent:
                return self._tried_at + _PROGRESS_PAUSE - now
            heartbeat = self._tried_at + self._lease.seconds / RENEWALS_A_LEASE
            phase = self._current[0]
            if heartbeat > self._progress_at + self._limits[phase]:
                self._log.error("stuck", phase=phase, consequence="the lease is renewed no more")
                self._stuck(f"{phase} has made no progress for {self._limits[phase]:g} s")
                return None
            return heartbeat - now

    async def _renew(self, store: Renewing) -> None:
        with self._changed:
            report = self._unsent[0] if self._unsent else self._current
            self._tried_at = sent_at = self._clock()
        try:
            answer = await store.renew(self._lease, *report)
        except StoreUnavailable as error:
            with self._changed:
                self._failures += 1
                if self._failures == 1:
                    self._log.warning("lease_not_renewed", reason=str(error))
            return
        with self._changed:
            self._failures = 0
            self._sent_phase = report[0]
            if self._unsent and self._unsent[0] is report:
                self._unsent.popleft()
            if self._valid_until <= sent_at:
                self._progress_at = self._clock()  # the work may have waited for this in `check`
            if answer is Renewal.OK:
                self._valid_until = sent_at + self._lease.seconds
            elif answer is Renewal.LOST:
                self._reason = StopReason.LOST  # wins over any other: nothing may be recorded
            else:
                self._valid_until = sent_at + self._lease.seconds
                self._reason = self._reason or StopReason(answer)
            self._changed.notify_all()
