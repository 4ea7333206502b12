"""The upload of a video and its poster, which outlasts an object store that is away for some minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from inference_service.pauses import growing_pauses
from inference_service.tools import Tools
from jobs.errors import StorageUnavailable
from jobs.job import Artifact
from jobs.storage import StoredObject
from jobs.store import Lease

__all__ = ["Files", "Upload"]

#: Seconds for which an upload is tried again while the object store is away: a restart takes seconds, a
#: failover minutes. After that the job fails, for its video would keep the GPU from the others. Less than
#: the keeper's limit of the phase (lease_keeper.py), and no matter of Redis, for which settling.py waits.
_PATIENCE = 600.0


@dataclass(frozen=True)
class Files:
    """What is uploaded."""

    video: Path
    poster: Path


class Upload:
    """Of one lease."""

    def __init__(
        self, lease: Lease, tools: Tools, stop: Callable[[], object], away: Callable[[], Awaitable[None]]
    ) -> None:
        """`stop` is called before each try, and may raise; `away` when the object store is."""
        self._lease, self._tools, self._stop, self._away = lease, tools, stop, away
        self._log = structlog.get_logger(__name__)

    async def run(self, files: Files) -> Artifact:
        """Where the video is. Raises StorageUnavailable, and what `stop` raises."""
        lease = self._lease
        folder = f"videos/{lease.job.id}/{lease.attempt}-{lease.token}"
        video, poster = await asyncio.gather(
            self._put(f"{folder}/video.mp4", files.video, "video/mp4"),
            self._put(f"{folder}/poster.jpg", files.poster, "image/jpeg"),
        )
        return Artifact(video.key, video.s3_url, video.etag, video.bytes, poster.key)

    async def _put(self, key: str, path: Path, content_type: str) -> StoredObject:
        give_up_at = self._tools.clock() + _PATIENCE
        async for _ in growing_pauses():
            self._stop()
            try:
                return await asyncio.to_thread(self._tools.storage.put, key, path, content_type)
            except StorageUnavailable as error:
                if self._tools.clock() > give_up_at:
                    raise
                await self._away()
                self._log.warning("upload_retried", key=key, reason=str(error))
        raise AssertionError("the pauses never end")
