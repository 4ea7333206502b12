"""Keeps the checkpoints of one lease durable, in the background.

A checkpoint is written to the scratch volume, then to the object store, and only then does the job point
to it. One is saved at a time; of those that come meanwhile only the newest is. While the object store is
away the record says so: what ends then is no strike. Lives on the event loop; what blocks runs in the
loop's threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import PurePosixPath

import structlog

from inference_service.checkpoints import Identity, Unusable, latents_to
from inference_service.job_files import FRAMES, JobFiles
from inference_service.metrics import CHECKPOINT_BYTES, CHECKPOINT_SECONDS
from inference_service.pace import Pace
from inference_service.pipeline import Latents
from inference_service.resuming import NAME, Resuming, local_name
from jobs.errors import StorageUnavailable, StoreUnavailable
from jobs.storage import VideoStorage
from jobs.store import JobStore, Lease

__all__ = ["Saver", "folder_of"]

_CONTENT_TYPE = "application/octet-stream"
_SLOW = 2.0  # seconds of the last save, after which the object store is taken to be away


def folder_of(job_id: str) -> str:
    """The prefix of a job's checkpoints in the object store."""
    return f"checkpoints/{job_id}/"


class Saver:
    """Of one lease."""

    def __init__(
        self,
        lease: Lease,
        identity: Identity,
        store: JobStore,
        storage: VideoStorage,
        files: JobFiles,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._lease, self._identity = lease, identity
        self._store, self._storage, self._files, self._pace = store, storage, files, pace
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._newest: Latents | None = None
        self._task: asyncio.Task[None] | None = None
        self._pointed = lease.checkpoint_key  # what the job points to
        self._closed = False
        self._resuming = Resuming(lease, identity, storage, files, clock)
        self._excused = False  # whether the record says that the object store is away
        self._local = True  # whether the scratch volume takes them
        #: The step that the next attempt can go on from; None: this lease has brought it no further.
        self.kept: int | None = None
        self._log = structlog.get_logger(__name__)

    async def load(self, patience: float, stop: Callable[[], object]) -> Latents | None:
        """See Resuming.load. While the object store is away, the record says so."""
        return await self._resuming.load(patience, stop, lambda: self.excuse(0))

    def offer(self, latents: Latents) -> None:
        """Keep these soon. From any thread; never blocks."""
        self._loop.call_soon_threadsafe(self._take, latents)

    async def save(self, latents: Latents, patience: float) -> bool:
        """Keep these now, and wait for up to `patience` seconds; whether they are kept."""
        task = self._take(latents)
        if task is not None:
            _, late = await asyncio.wait({task}, timeout=min(patience, _SLOW))
            if late:  # the process may have no time left to hear why
                await self.excuse(latents.step)
                await asyncio.wait({task}, timeout=max(0.0, patience - _SLOW))
        return self.kept == latents.step

    async def excuse(self, step: int) -> None:
        """Have the record say that the object store is away, with so many steps done."""
        if self._excused or self._closed:
            return
        try:
            self._excused = await self._store.unkept(self._lease, step)
        except StoreUnavailable as error:
            self._log.warning("outage_not_recorded", reason=str(error))

    def close(self) -> None:
        """Begin no more."""
        self._closed, self._newest = True, None

    async def idle(self) -> None:
        """Wait until nothing is on its way any more."""
        if self._task is not None:
            await asyncio.wait({self._task})

    @property
    def any(self) -> bool:
        """Whether the object store may hold checkpoints of the job."""
        return self._pointed is not None or self._task is not None

    def _take(self, latents: Latents) -> asyncio.Task[None] | None:
        if self._closed:
            return None
        self._newest = latents
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return self._task

    async def _drain(self) -> None:
        while (latents := self._newest) is not None:
            self._newest = None
            try:
                await self._keep(latents)
            except StorageUnavailable as error:
                self._log.warning("checkpoint_not_kept", step=latents.step, reason=str(error))
                await self.excuse(latents.step)
            except StoreUnavailable as error:
                self._log.warning("checkpoint_not_kept", step=latents.step, reason=str(error))
            except Exception:  # noqa: BLE001  # a defect: the work goes on without it
                self._log.exception("checkpoint_failed", step=latents.step)

    async def _keep(self, latents: Latents) -> None:
        lease, began = self._lease, self._clock()
        # A folder for each step: what the object store removes is a folder.
        folder = f"{folder_of(lease.job.id)}{lease.attempt}-{lease.token}"
        key = f"{folder}/step-{latents.step}/{NAME}"
        content = latents_to(latents, self._identity)
        await asyncio.to_thread(self._write_here, key, content)
        if await self._is_behind(latents):
            return
        await asyncio.to_thread(self._storage.put, key, content, _CONTENT_TYPE)
        if not await self._store.checkpoint(lease, key, latents.step, self._resuming.unusable):
            self._log.warning("checkpoint_refused", step=latents.step, reason="the lease is lost")
            self.close()
            return
        before, self._pointed, self.kept = self._pointed, key, latents.step
        seconds = self._pace.checkpoint = self._clock() - began
        CHECKPOINT_SECONDS.observe(seconds)
        CHECKPOINT_BYTES.inc(len(content))
        self._log.info("checkpoint", step=latents.step, bytes=len(content), seconds=round(seconds, 3))
        try:
            await asyncio.to_thread(self._forget, before, key)
        except StorageUnavailable as error:  # the new one is kept all the same
            self._log.warning("checkpoints_left_to_the_reaper", job=lease.job.id, reason=str(error))

    def _write_here(self, key: str, content: bytes) -> None:
        if not self._local:
            return
        job_id, kept = self._lease.job.id, [local_name(key), FRAMES]
        if self._pointed is not None:
            kept.append(local_name(self._pointed))
        otherwise = "checkpoints are in the object store alone"
        self._local = self._files.keep(job_id, local_name(key), content, otherwise)  # said once
        if self._local:
            self._files.keep_only(job_id, kept)

    async def _is_behind(self, latents: Latents) -> bool:
        """Whether the job has a checkpoint of more steps, which could not be read when this work began.

        It stays, and whoever comes next goes on from it, if it can be read by now. Raises StorageUnavailable
        where it still cannot: then this work goes on, and passes it one day.
        """
        key, there = self._lease.checkpoint_key, self._lease.checkpoint_step
        if key is None or key == self._resuming.unusable or latents.step >= there:
            return False
        await self.excuse(latents.step)
        try:
            await asyncio.to_thread(self._resuming.read, key)
        except Unusable as unusable:
            self._log.warning("checkpoint_ignored", key=key, reason=str(unusable))
            self._resuming.unusable = key
            return False
        self.kept = there
        self._log.info("checkpoint_behind", step=latents.step, kept=there)
        return True

    def _forget(self, before: str | None, key: str) -> None:
        """The checkpoint that the job points to no more."""
        self._files.keep_only(self._lease.job.id, [local_name(key), FRAMES])
        if before is not None and before != key:
            self._storage.delete_prefix(f"{PurePosixPath(before).parent}/")
