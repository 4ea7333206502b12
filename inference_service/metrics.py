"""What the predictor adds to KServe's `/metrics`: jobs by outcome, slices, checkpoints, phases."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Histogram

from jobs.job import Phase

__all__ = ["CHECKPOINT_BYTES", "CHECKPOINT_SECONDS", "JOBS", "RESUMED_STEPS", "SLICES", "PhaseClock"]

JOBS = Counter(
    "mochi_predictor_jobs",
    "Leases of this process by how they ended: completed, failed, cancelled, lost, slice, shutdown, "
    "device_lost.",
    ["outcome"],
)

SLICES = Counter("mochi_slices", "Deliveries that this process has worked on.")

RESUMED_STEPS = Counter("mochi_resumed_steps", "Denoising steps that a checkpoint saved this process.")

CHECKPOINT_BYTES = Counter("mochi_checkpoint_bytes", "Bytes of the checkpoints that became durable.")

CHECKPOINT_SECONDS = Histogram(
    "mochi_checkpoint_seconds",
    "Seconds until a checkpoint was durable.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60),
)

#: From a tiny model's tenths of a second to a quarter of an hour.
PHASE_SECONDS = Histogram(
    "mochi_phase_seconds",
    "Seconds that a job spent in a phase.",
    ["phase"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900),
)


class PhaseClock:
    """Measures the phases of one job. Its methods are called one after the other, from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase: Phase | None = None
        self._since = 0.0
        #: Seconds spent in each phase, in all the times that it was entered and is over.
        self.seconds: dict[Phase, float] = {}

    def enter(self, phase: Phase | None) -> None:
        """A phase begins (or goes on); None: the job has ended."""
        if phase is self._phase:
            return
        now = self._clock()
        if self._phase is not None:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
            PHASE_SECONDS.labels(self._phase).observe(now - self._since)
        self._phase, self._since = phase, now
