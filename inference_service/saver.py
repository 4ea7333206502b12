"""Keeps the checkpoints of one lease durable, in the background, and finds the one to go on from.

A checkpoint is written to the scratch volume, then to the object store, and only then does the job point
to it. One is saved at a time; of those that come meanwhile only the newest is. Lives on the event loop;
what blocks runs in the loop's threads.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import PurePosixPath

import structlog

from inference_service.checkpoints import Identity, Unusable, latents_from, latents_to
from inference_service.job_files import JobFiles
from inference_service.metrics import CHECKPOINT_BYTES, CHECKPOINT_SECONDS
from inference_service.pace import Pace
from inference_service.pipeline import Latents
from jobs.errors import StorageUnavailable, StoreUnavailable
from jobs.storage import VideoStorage
from jobs.store import JobStore, Lease

__all__ = ["Saver", "folder_of", "is_full"]

_CONTENT_TYPE = "application/octet-stream"


def folder_of(job_id: str) -> str:
    """The prefix of a job's checkpoints in the object store."""
    return f"checkpoints/{job_id}/"


def is_full(error: OSError) -> bool:
    """Whether a volume had no room: full, over its quota, or over the size that a file may have."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        self._local = True  # whether the scratch volume takes them
        #: The newest step of this lease that is durable; None: none is.
        self.kept: int | None = None
        self._log = structlog.get_logger(__name__)

    def offer(self, latents: Latents) -> None:
        """Keep these soon. From any thread; never blocks."""
        self._loop.call_soon_threadsafe(self._take, latents)

    async def save(self, latents: Latents, patience: float) -> bool:
        """Keep these now, and wait for up to `patience` seconds; whether they are kept."""
        task = self._take(latents)
        if task is not None:
            await asyncio.wait({task}, timeout=patience)
        return self.kept == latents.step

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
            except (StorageUnavailable, StoreUnavailable) as error:
                self._log.warning("checkpoint_not_kept", step=latents.step, reason=str(error))
            except Exception:  # noqa: BLE001  # a defect: the work goes on without it
                self._log.exception("checkpoint_failed", step=latents.step)

    async def _keep(self, latents: Latents) -> None:
        lease, began = self._lease, self._clock()
        # A folder for each step: what the object store removes is a folder.
        folder = f"{folder_of(lease.job.id)}{lease.attempt}-{lease.token}"
        key = f"{folder}/step-{latents.step}/latents.safetensors"
        size = await asyncio.to_thread(self._write, key, latents)
        if not await self._store.checkpoint(lease, key, latents.step):
            self._log.warning("checkpoint_refused", step=latents.step, reason="the lease is lost")
            self.close()
            return
        before, self._pointed, self.kept = self._pointed, key, latents.step
        seconds = self._pace.checkpoint = self._clock() - began
        CHECKPOINT_SECONDS.observe(seconds)
        CHECKPOINT_BYTES.inc(size)
        self._log.info("checkpoint", step=latents.step, bytes=size, seconds=round(seconds, 3))
        await asyncio.to_thread(self._forget, before, key)

    def _write(self, key: str, latents: Latents) -> int:
        content = latents_to(latents, self._identity)
        self._write_here(key, content)
        self._storage.put(key, content, _CONTENT_TYPE)
        return len(content)

    def _write_here(self, key: str, content: bytes) -> None:
        if not self._local:
            return
        try:
            self._files.write(self._lease.job.id, _name(key), content)
        except OSError as error:
            self._local = False  # said once
            consequence = "checkpoints are in the object store alone"
            event = "scratch_full" if is_full(error) else "scratch_unwritable"
            self._log.warning(event, reason=error.strerror, consequence=consequence)

    def _forget(self, before: str | None, key: str) -> None:
        """The checkpoint that the job points to no more."""
        self._files.keep_only(self._lease.job.id, [_name(key)])
        if before is not None and before != key:
            self._storage.delete_prefix(f"{PurePosixPath(before).parent}/")

    # Going on

    async def load(self, patience: float, stop: Callable[[], object]) -> Latents | None:
        """What to go on from; None: nothing, so the work begins at its first step.

        While the object store is away it is asked again for `patience` seconds, and `stop` is called
        before each turn: it may raise.
        """
        key, job = self._lease.checkpoint_key, self._lease.job
        if key is None:
            return None
        give_up_at = self._clock() + patience
        while True:
            stop()
            try:
                latents = await asyncio.to_thread(self._read, key)
            except Unusable as unusable:
                self._log.warning("checkpoint_ignored", key=key, reason=str(unusable))
                return None
            except StorageUnavailable as error:
                if self._clock() > give_up_at:
                    self._log.warning("checkpoint_ignored", key=key, reason=str(error))
                    return None
                await asyncio.sleep(1)
            else:
                self._log.info("resumed", step=latents.step, of=job.spec.num_inference_steps)
                return latents

    def _read(self, key: str) -> Latents:
        content = self._files.read(self._lease.job.id, _name(key))
        if content is not None:
            try:
                return self._checked(content)
            except Unusable as unusable:
                self._log.warning("local_checkpoint_ignored", key=key, reason=str(unusable))
        try:
            content = b"".join(self._storage.read(key))
        except KeyError:
            raise Unusable("it is gone") from None
        return self._checked(content)

    def _checked(self, content: bytes) -> Latents:
        latents = latents_from(content, self._identity)
        if not 0 < latents.step <= self._lease.job.spec.num_inference_steps:
            raise Unusable(f"its step is {latents.step}")
        return latents


def _name(key: str) -> str:
    """A checkpoint's name on the scratch volume: it holds the token, as its key does."""
    return "-".join(PurePosixPath(key).parts[-3:])
