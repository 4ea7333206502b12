"""The sweep: removes what stale predictors uploaded, to which no record refers, and old checkpoints.

It goes through the bucket in the store's order, a page at a time, so that neither its memory nor the time of
a round grows with the bucket. Done twice, or again from where a process died, it does no harm.

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from functions.wiring import Wiring
from jobs.errors import JobNotFound
from jobs.job_ids import is_job_id
from jobs.storage import StoredObject

__all__ = ["FOLDERS", "Part", "Sweep"]

#: Of the bucket, in each of which every job has one.
FOLDERS = ("videos", "checkpoints")

_FOLDER = re.compile(r"((?:videos|checkpoints)/([^/]+)/[^/]+/).+")
_YOUNG = timedelta(days=1)
_PAGE, _PAGES = 1000, 10  # objects in memory, and pages of them in one round of the reaper

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Part:
    """What a part of the sweep came to."""

    removed: int  # objects
    to: str | None  # the place where the next part begins; None: the sweep is over


class Sweep:
    """Removes objects that nothing refers to."""

    def __init__(self, wiring: Wiring, page: int = _PAGE, pages: int = _PAGES) -> None:
        """`page`: objects that are looked at at once; `pages`: in one part."""
        self._wiring = wiring
        self._page, self._pages = page, pages
        self._unknown = _YOUNG + timedelta(seconds=wiring.settings.retention_seconds)

    async def run(self, now: datetime) -> int:
        """The whole sweep; how many objects were removed. Raises StoreUnavailable, StorageUnavailable."""
        removed, place = 0, ""
        while True:
            part = await self.part(place, now)
            removed += part.removed
            if part.to is None:
                return removed
            place = part.to

    async def part(self, place: str, now: datetime) -> Part:
        """From a place on, which is empty at the beginning. Raises StoreUnavailable, StorageUnavailable."""
        removed = 0
        for _ in range(self._pages):
            folder = _folder_of(place)
            page = await asyncio.to_thread(self._wiring.storage.page, f"{folder}/", place, self._page)
            removed += await self._sweep_page(page, now)
            if len(page) == self._page:
                place = page[-1].key
            elif folder == FOLDERS[-1]:
                return Part(removed, None)
            else:
                place = f"{FOLDERS[FOLDERS.index(folder) + 1]}/"
        return Part(removed, place)

    async def _sweep_page(self, page: Sequence[StoredObject], now: datetime) -> int:
        removed = 0
        for (folder, job_id), modified in _newest(page).items():
            if now - modified <= _YOUNG or await self._spared(folder, job_id, now - modified):
                continue
            # A page may end within a folder: is all of it so old?
            whole = await asyncio.to_thread(lambda: _newest(self._wiring.storage.list(folder)))  # noqa: B023  # awaited here
            age = now - max(whole.values(), default=modified)
            if age <= _YOUNG or await self._spared(folder, job_id, age):
                continue
            objects = await asyncio.to_thread(self._wiring.storage.delete_prefix, folder)
            log.info("swept", job=job_id, folder=folder, objects=objects)
            removed += objects
        return removed

    async def _spared(self, folder: str, job_id: str, age: timedelta) -> bool:
        try:
            job = await self._wiring.store.get(job_id)
        except JobNotFound:
            return age <= self._unknown
        return not job.status.terminal or (job.artifact is not None and job.artifact.key.startswith(folder))


def _folder_of(place: str) -> str:
    """Of the bucket, in which a place is."""
    name = place.partition("/")[0]
    return name if name in FOLDERS else FOLDERS[0]


def _newest(found: Iterable[StoredObject]) -> dict[tuple[str, str], datetime]:
    """The folder and job of each attempt, with the time of the newest object in it."""
    times: dict[tuple[str, str], datetime] = {}
    for stored in found:
        match = _FOLDER.fullmatch(stored.key)
        if match and is_job_id(match[2]):
            folder = (match[1], match[2])
            modified = stored.modified or datetime.now(UTC)  # of unknown age: young
            times[folder] = max(times.get(folder, modified), modified)
    return times
