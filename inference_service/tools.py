"""What the predictor works with: everything that does I/O, tells the time or runs a thread is handed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from eventing.publisher import Publisher
from inference_service.job_files import JobFiles
from inference_service.lease_keeper import LeaseKeeping
from inference_service.pipeline import VideoPipeline
from jobs.storage import VideoStorage
from jobs.store import JobStore, Lease

__all__ = ["Tools"]


@dataclass(frozen=True)
class Tools:
    """Of one process. What else blocks runs in the threads of the event loop (`asyncio.to_thread`)."""

    store: JobStore
    storage: VideoStorage
    pipeline: VideoPipeline
    publisher: Publisher | None  # None: no Broker is known, and unsent replies are left to the reaper
    keep: Callable[[Lease, float], LeaseKeeping]  # from a lease and the clock's time before its claim
    files: JobFiles  # outlive the process
    scratch_dir: Path  # of this process alone
    slot: str  # names this process in the job's record
    slice_seconds: float = 240.0  # that a delivery may take, from its time on
    checkpoint_seconds: float = 30.0  # of denoising between two checkpoints
    clock: Callable[[], float] = time.monotonic  # seconds
    gpu: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="gpu"))
