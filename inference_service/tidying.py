"""What is removed after the work: the checkpoints of a job that has ended, and old files of any job."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from inference_service.saver import Saver, folder_of
from inference_service.tools import Tools
from jobs.errors import JobNotFound, StorageUnavailable, StoreUnavailable

__all__ = ["sweep", "tidy"]

log = structlog.get_logger(__name__)


async def tidy(tools: Tools, job_id: str, saver: Saver | None, at_work: Collection[str]) -> None:
    """Remove what nobody goes on from. `saver`: of the job, where it has ended."""
    if saver is not None:
        await saver.idle()
        await asyncio.to_thread(tools.files.remove, job_id)
        if saver.any:
            try:
                await asyncio.to_thread(tools.storage.delete_prefix, folder_of(job_id))
            except StorageUnavailable as error:
                log.warning("checkpoints_left_to_the_reaper", job=job_id, reason=str(error))
    await sweep(tools, at_work)


async def sweep(tools: Tools, at_work: Collection[str]) -> None:
    """Remove what the scratch volume keeps of jobs that have ended, and what is too old or too much."""
    for job_id in await asyncio.to_thread(tools.files.jobs):
        if job_id in at_work:
            continue
        try:
            ended = (await tools.store.get(job_id)).status.terminal
        except JobNotFound:
            ended = True
        except StoreUnavailable:
            break
        if ended:
            await asyncio.to_thread(tools.files.remove, job_id)
    await asyncio.to_thread(tools.files.sweep, tuple(at_work))
