"""What the sweep takes, and above all what it spares."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from functions.reaper.sweep import FOLDERS, Sweep
from functions.wiring import Wiring
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import JobStore
from tests.functions.lives import claimed, completed, failed, finish, given

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def storage(settings: Settings) -> S3VideoStorage:
    storage = S3VideoStorage(settings)
    storage.check()
    return storage


async def swept(settings: Settings, later: timedelta, page: int = 3, pages: int = 1) -> int:
    """A sweep, as it would go `later`, in parts of a page or more."""
    wiring = Wiring(settings)
    try:
        return await Sweep(wiring, page, pages).run(datetime.now(UTC) + later)
    finally:
        await wiring.store.close()
        await wiring.publisher.aclose()


@pytest.fixture
def empty(storage: S3VideoStorage) -> S3VideoStorage:
    for folder in FOLDERS:
        storage.delete_prefix(f"{folder}/")
    return storage


async def test_attempts_that_nothing_refers_to_go_and_the_video_stays(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    job = await completed(store, settings, empty)
    lease = await claimed(store, (await given(store)).id)
    broken = await finish(store, lease, failed(lease))
    for job_id in (job.id, broken.id):
        for name in ("video.mp4", "poster.jpg"):
            empty.put(f"videos/{job_id}/1-stale/{name}", b"x", "video/mp4")
    assert await swept(settings, DAY - HOUR) == 0  # they are young
    assert await swept(settings, DAY + HOUR) == 4
    assert job.artifact is not None
    assert [stored.key for stored in empty.list("videos/")] == [job.artifact.key]


async def test_a_job_that_has_not_ended_keeps_everything(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    lease = await claimed(store, (await given(store)).id)
    empty.put(f"videos/{lease.job.id}/1-{lease.token}/video.mp4", b"x", "video/mp4")
    empty.put(f"videos/{lease.job.id}/0-before/video.mp4", b"x", "video/mp4")
    assert await swept(settings, 30 * DAY) == 0


async def test_checkpoints_go_with_their_job_and_not_before(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    ended = await completed(store, settings, empty)
    lease = await claimed(store, (await given(store)).id)
    for job_id, attempt in (
        (ended.id, "1-t"),
        (lease.job.id, "0-before"),
        (lease.job.id, f"1-{lease.token}"),
    ):
        empty.put(f"checkpoints/{job_id}/{attempt}/step-4.safetensors", b"x", "application/octet-stream")
        empty.put(f"checkpoints/{job_id}/{attempt}/frames/1.npy", b"x", "application/octet-stream")
    await store.checkpoint(lease, f"checkpoints/{lease.job.id}/0-before/step-4.safetensors", 4)
    assert await swept(settings, DAY - HOUR) == 0
    assert await swept(settings, DAY + HOUR) == 2
    assert not list(empty.list(f"checkpoints/{ended.id}/"))
    assert len(list(empty.list(f"checkpoints/{lease.job.id}/"))) == 4
    await finish(store, lease, failed(lease))
    assert await swept(settings, DAY + HOUR) == 4


async def test_two_sweeps_at_once_do_no_harm(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    job = await completed(store, settings, empty)
    for folder in FOLDERS:
        empty.put(f"{folder}/{job.id}/1-stale/0", b"x", "video/mp4")
    removed = await asyncio.gather(*(swept(settings, DAY + HOUR) for _ in range(3)))
    assert max(removed) >= 1
    assert job.artifact is not None
    assert [s.key for folder in FOLDERS for s in empty.list(f"{folder}/")] == [job.artifact.key]


async def test_a_wrong_redis_costs_nobody_a_video_that_is_to_be_kept(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    assert not (await store.list_jobs()).jobs
    empty.put(f"videos/{'a' * 32}/1-t/video.mp4", b"x", "video/mp4")
    kept = timedelta(seconds=settings.retention_seconds)
    assert await swept(settings, kept + HOUR) == 0
    assert await swept(settings, kept + DAY + HOUR) == 1


async def test_what_is_not_ours_stays(store: JobStore, settings: Settings, empty: S3VideoStorage) -> None:
    assert not (await store.list_jobs()).jobs
    for key in (
        "videos/holiday.mp4",
        "checkpoints/of-a-training/a",
        f"other/{'a' * 32}/1/a",
        "videos/anna/1/video.mp4",
        f"videos/{'a' * 32}/loose.mp4",
    ):
        empty.put(key, b"x", "video/mp4")
    assert await swept(settings, 365 * DAY) == 0
    for folder in ("videos", "checkpoints", "other"):
        empty.delete_prefix(f"{folder}/")


async def test_whatever_the_pages_all_of_it_is_seen_once_and_again(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    job = await completed(store, settings, empty)
    assert job.artifact is not None
    for page, pages in ((1, 1), (2, 3), (5, 2), (1000, 10)):
        for number in range(4):
            for name in ("video.mp4", "poster.jpg"):
                empty.put(f"videos/{job.id}/{number}-stale/{name}", b"x", "video/mp4")
        empty.put(f"checkpoints/{job.id}/1-stale/step-4/latents.safetensors", b"x", "")
        assert await swept(settings, DAY + HOUR, page, pages) == 9
        assert await swept(settings, DAY + HOUR, page, pages) == 0
        assert [stored.key for stored in empty.list("videos/")] == [job.artifact.key]


async def test_a_part_that_is_done_again_does_no_harm(
    store: JobStore, settings: Settings, empty: S3VideoStorage
) -> None:
    job = await completed(store, settings, empty)
    empty.put(f"videos/{job.id}/0-stale/video.mp4", b"x", "video/mp4")
    wiring, now = Wiring(settings), datetime.now(UTC) + DAY + HOUR
    sweep, place, seen = Sweep(wiring, 1, 1), "", []
    while True:
        part = await sweep.part(place, now)
        again = await sweep.part(place, now)  # its process died before it could say how far it came
        seen.append(part.removed)
        assert again.removed == 0
        if part.to is None:
            break
        place = part.to
    await wiring.store.close()
    await wiring.publisher.aclose()
    assert sum(seen) == 1
    assert job.artifact is not None
    assert [stored.key for stored in empty.list("videos/")] == [job.artifact.key]
