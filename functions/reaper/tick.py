"""What the reaper does every minute: the overdue, the tick, the books, what has expired, a part of the sweep.

One job that cannot be mended stops no other: it is logged, and tried again a minute later. An outage of
Redis stops it all (503: the Broker tries again); one of the object store stops the removing of videos.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from eventing.dispatch import dispatch
from functions.reaper.books import check_books
from functions.reaper.sweep import FOLDERS, Sweep
from functions.wiring import Wiring
from jobs.errors import StorageUnavailable, StoreUnavailable

__all__ = ["SOURCE", "Reaper"]

SOURCE = "/mochi/reaper"  # of the CloudEvents that this function makes
_BATCH = 100  # jobs asked for at once
#: Seconds between two sweeps of the whole bucket, each of which is done in parts, one a round. Redis keeps
#: how far it came: a reaper may be started for each of its rounds, and of two reapers one does a part.
_SWEEP_EVERY = 3600.0

log = structlog.get_logger(__name__)


class Reaper:
    """Mends what was lost."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._sweep = Sweep(wiring)
        self._round = asyncio.Lock()

    async def tick(self) -> None:
        """One round; nothing while one is at work. Raises StoreUnavailable.

        A round that removes much takes longer than the PingSource waits, which then asks again.
        """
        if self._round.locked():
            log.info("round_at_work")
            return
        async with self._round:
            await self._tick()

    async def _tick(self) -> None:
        reaped = await self._reap_all()
        deliveries = await self._wiring.store.tick()
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, deliveries)
        removed = await self._remove_all()  # before all that a Redis out of memory refuses: it makes room
        mended = await check_books(self._wiring.store)
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, mended)
        await self._sweep_in_turn()
        log.info("tick", reaped=reaped, published=len(deliveries) + len(mended), removed=removed)

    async def _reap_all(self) -> int:
        seen: set[str] = set()
        # What was reaped is due no more. What failed still is: it is asked for again, and skipped.
        while batch := [job for job in await self._wiring.store.due(_BATCH + len(seen)) if job not in seen]:
            for job_id in batch:
                seen.add(job_id)
                await self._reap(job_id)
        return len(seen)

    async def _reap(self, job_id: str) -> None:
        try:
            deliveries = await self._wiring.store.reap(job_id)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("reap_failed", job=job_id)
            return
        for delivery in deliveries:
            log.info("reaped", job=job_id, causes=delivery.event_id, queue=delivery.queue)
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, deliveries)

    async def _remove_all(self) -> int:
        removed = 0
        try:
            while batch := await self._wiring.store.expire(_BATCH):
                for expired in batch:
                    await self._remove(expired.job_id)
                removed += len(batch)
        except StorageUnavailable as error:
            # The records are marked, and are given out again until their objects are gone.
            log.warning("removing_stopped", reason=str(error), removed=removed)
        return removed

    async def _sweep_in_turn(self) -> None:
        place = await self._wiring.store.sweep_place(_SWEEP_EVERY)
        if place is None:
            return
        try:
            part = await self._sweep.part(place, datetime.now(UTC))
        except StorageUnavailable as error:
            log.warning("sweep_stopped", reason=str(error))  # the next round goes on from the same place
        else:
            await self._wiring.store.swept(place, part.to)

    async def _remove(self, job_id: str) -> None:
        objects = await asyncio.to_thread(self._delete_objects, job_id)
        await self._wiring.store.forget(job_id)
        log.info("expired", job=job_id, objects=objects)

    def _delete_objects(self, job_id: str) -> int:
        return sum(self._wiring.storage.delete_prefix(f"{folder}/{job_id}/") for folder in FOLDERS)
