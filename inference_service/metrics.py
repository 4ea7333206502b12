"""What the predictor adds to KServe's `/metrics`: jobs by outcome, and how long each phase took."""

from __future__ import annotations

import time

from prometheus_client import Counter, Histogram

from jobs.job import Phase

__all__ = ["JOBS", "PhaseClock"]

JOBS = Counter(
    "mochi_predictor_jobs",
    "Leases of this process by how they ended: completed, failed, cancelled, lost or shutdown.",
    ["outcome"],
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

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._since = 0.0
        #: Seconds spent in each phase that is over.
        self.seconds: dict[Phase, float] = {}

    def enter(self, phase: Phase | None) -> None:
        """A phase begins (or goes on); None: the job has ended."""
        if phase is self._phase:
            return
        now = time.monotonic()
        if self._phase is not None:
            self.seconds[self._phase] = now - self._since
            PHASE_SECONDS.labels(self._phase).observe(now - self._since)
        self._phase, self._since = phase, now
