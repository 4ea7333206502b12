"""Finds what an attempt goes on from: the job's checkpoint, or one of more steps on the scratch volume.

Writes nothing. What blocks runs in the event loop's threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath

import structlog

from inference_service.checkpoints import Identity, Unusable, latents_from
from inference_service.job_files import JobFiles
from inference_service.pipeline import Latents
from jobs.errors import StorageUnavailable
from jobs.storage import VideoStorage
from jobs.store import Lease

__all__ = ["NAME", "Resuming", "local_name"]

#: The last part of each checkpoint's key.
NAME = "latents.safetensors"

_LEAST_READS = 3  # that fail before a checkpoint is given up: a process may sleep through its patience


def local_name(key: str) -> str:
    """A checkpoint's name on the scratch volume: it holds the token, as its key does."""
    return "-".join(PurePosixPath(key).parts[-3:])


class Resuming:
    """Of one lease."""

    def __init__(
        self,
        lease: Lease,
        identity: Identity,
        storage: VideoStorage,
        files: JobFiles,
        clock: Callable[[], float],
    ) -> None:
        self._lease, self._identity = lease, identity
        self._storage, self._files, self._clock = storage, files, clock
        #: The checkpoint that the job pointed to, where it was found to be of no use; empty: it was not.
        self.unusable = ""
        self._log = structlog.get_logger(__name__)

    async def load(
        self, patience: float, stop: Callable[[], object], away: Callable[[], Awaitable[None]]
    ) -> Latents | None:
        """What to go on from; None: nothing, so the work begins at its first step.

        That is the job's checkpoint, or one of more steps that this volume has (an attempt here may have had
        no object store). While the object store is away, `away` is called, it is asked again for `patience`
        seconds, and `stop` is called before each turn: it may raise.
        """
        lease = self._lease
        found = await asyncio.to_thread(self._newest_here)
        behind = found is None or found.step < lease.checkpoint_step
        if lease.checkpoint_key is not None and behind:
            found = await self._fetched(lease.checkpoint_key, patience, stop, away) or found
        if found is not None:
            self._log.info("resumed", step=found.step, of=lease.job.spec.num_inference_steps)
        return found

    def read(self, key: str) -> Latents:
        """A checkpoint in the object store. Blocks. Raises Unusable, StorageUnavailable."""
        try:
            content = b"".join(self._storage.read(key))
        except KeyError:
            raise Unusable("it is gone") from None
        return self._checked(content)

    async def _fetched(
        self, key: str, patience: float, stop: Callable[[], object], away: Callable[[], Awaitable[None]]
    ) -> Latents | None:
        failures, give_up_at = 0, 0.0
        while True:
            stop()
            try:
                return await asyncio.to_thread(self.read, key)
            except Unusable as unusable:
                self.unusable = key
                self._log.warning("checkpoint_ignored", key=key, reason=str(unusable))
                return None
            except StorageUnavailable as error:
                failures += 1
                if failures == 1:
                    give_up_at = self._clock() + patience
                    await away()
                elif failures >= _LEAST_READS and self._clock() > give_up_at:
                    self._log.warning("checkpoint_ignored", key=key, reason=str(error))
                    return None
                await asyncio.sleep(1)

    def _newest_here(self) -> Latents | None:
        """Of those on the scratch volume the one with the most steps."""
        found: Latents | None = None
        for name in self._files.names(self._lease.job.id):
            content = self._files.read(self._lease.job.id, name) if name.endswith(NAME) else None
            if content is None:
                continue
            try:
                latents = self._checked(content)
            except Unusable as unusable:
                self._log.warning("local_checkpoint_ignored", name=name, reason=str(unusable))
                continue
            if found is None or latents.step > found.step:
                found = latents
        return found

    def _checked(self, content: bytes) -> Latents:
        latents = latents_from(content, self._identity)
        if not 0 < latents.step <= self._lease.job.spec.num_inference_steps:
            raise Unusable(f"its step is {latents.step}")
        return latents
