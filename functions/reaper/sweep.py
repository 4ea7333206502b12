"""The sweep: removes what stale predictors uploaded, to which no record refers, and old checkpoints.

What a job's retention removes is not its business (`tick.py`). It looks at one folder of an attempt at a
time (`videos/{job}/{attempt}-{token}/`, and the same below `checkpoints/`), and would rather leave one than
take something from somebody: it spares whatever is younger than a day, belongs to a job that has not ended
(a lease may live, and the next goes on from its checkpoint), or is the video of one that has.
A job that Redis does not know may have been lost with a power cut, or Redis may be the wrong one: its
objects go only when the job would have expired anyway.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import structlog

from functions.wiring import Wiring
from jobs.errors import JobNotFound

__all__ = ["FOLDERS", "Sweep"]

#: Of the bucket, in each of which every job has one.
FOLDERS = ("videos", "checkpoints")

_FOLDER = re.compile(r"((?:videos|checkpoints)/([0-9a-f]{32})/[^/]+/).+")
_YOUNG = timedelta(days=1)

log = structlog.get_logger(__name__)


class Sweep:
    """Removes objects that nothing refers to."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._unknown = _YOUNG + timedelta(seconds=wiring.settings.retention_seconds)

    async def run(self, now: datetime) -> int:
        """How many objects were removed. Raises StoreUnavailable, StorageUnavailable."""
        removed = 0
        for (folder, job_id), modified in (await asyncio.to_thread(self._folders)).items():
            age = now - modified
            if age > _YOUNG and not await self._spared(folder, job_id, age):
                objects = await asyncio.to_thread(self._wiring.storage.delete_prefix, folder)
                log.info("swept", job=job_id, folder=folder, objects=objects)
                removed += objects
        return removed

    def _folders(self) -> dict[tuple[str, str], datetime]:
        """The folder and job of each attempt, with the time of the newest object in it."""
        found: dict[tuple[str, str], datetime] = {}
        for stored in (s for folder in FOLDERS for s in self._wiring.storage.list(f"{folder}/")):
            if match := _FOLDER.fullmatch(stored.key):
                folder = (match[1], match[2])
                modified = stored.modified or datetime.now(UTC)  # of unknown age: young
                found[folder] = max(found.get(folder, modified), modified)
        return found

    async def _spared(self, folder: str, job_id: str, age: timedelta) -> bool:
        try:
            job = await self._wiring.store.get(job_id)
        except JobNotFound:
            return age <= self._unknown
        return not job.status.terminal or (job.artifact is not None and job.artifact.key.startswith(folder))
