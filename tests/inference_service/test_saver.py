"""Saving in the background: the newest wins, one at a time, and the job points only to what is durable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from inference_service.checkpoints import Identity
from inference_service.job_files import JobFiles
from inference_service.pace import Pace
from inference_service.pipeline import Latents
from inference_service.saver import Saver
from jobs.errors import StorageUnavailable
from jobs.memory_storage import MemoryVideoStorage
from jobs.storage import StoredObject
from jobs.store import Lease
from tests.inference_service.rig import Rig, until
from tests.inference_service.support import SPEC


def latents(step: int) -> Latents:
    return Latents(step, "U8", (1,), bytes([step]))


class Away(MemoryVideoStorage):
    """Says that it is away as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.reads = 0

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("away")

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        self._fail()
        return super().put(key, source, content_type)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.reads += 1
        self._fail()
        return super().read(key, start, end)


class Slow(MemoryVideoStorage):
    """Takes an object when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self.at_once = self.most_at_once = 0

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        self.begun.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.go_on.wait(30)
        self.at_once -= 1
        return super().put(key, source, content_type)


async def lease_of(rig: Rig) -> Lease:
    job = await rig.submit()
    lease = await rig.store.claim(job.id, "test")
    assert isinstance(lease, Lease)
    return lease


def saver_of(
    rig: Rig, lease: Lease, storage: MemoryVideoStorage, clock: Callable[[], float] = time.monotonic
) -> Saver:
    identity = Identity.of(lease.job, {})
    pace = Pace(rig.tools.pipeline.profile)
    return Saver(lease, identity, rig.store, storage, rig.tools.files, pace, clock)


LONG = replace(SPEC, num_inference_steps=10)


async def left_at(rig: Rig, storage: MemoryVideoStorage, step: int) -> Lease:
    """The lease of the attempt after one that came so far, on another host."""
    job = await rig.submit(LONG)
    lease = await rig.store.claim(job.id, "test")
    assert isinstance(lease, Lease)
    assert await saver_of(rig, lease, storage).save(latents(step), 30)
    rig.tools.files.remove(job.id)
    await rig.store.yield_(lease)
    again = await rig.store.claim(job.id, "test")
    assert isinstance(again, Lease)
    return again


async def test_the_newest_wins_and_one_is_saved_at_a_time(rig: Rig) -> None:
    storage, lease = Slow(), await lease_of(rig)
    saver = saver_of(rig, lease, storage)
    saver.offer(latents(1))

    async def begun() -> bool:
        return bool(storage.begun)

    await until(begun)
    for step in (2, 3, 4):
        saver.offer(latents(step))
    assert "checkpoint" not in await rig.record(lease.job), "it is not durable yet"
    storage.go_on.set()
    assert await saver.save(latents(5), 30)
    assert [key.split("/")[-2] for key in storage.begun] in (
        ["step-1", "step-5"],
        ["step-1", "step-4", "step-5"],
    )
    assert storage.most_at_once == 1
    assert [stored.key for stored in storage.list("checkpoints/")] == [storage.begun[-1]]
    assert len([p for p in rig.scratch.rglob("*") if p.is_file()]) == 1
    record = await rig.record(lease.job)
    assert (record["checkpoint"], record["checkpoint_step"]) == (storage.begun[-1], "5")
    assert storage.begun[-1].startswith(f"checkpoints/{lease.job.id}/1-{lease.token}/")


async def test_a_former_one_that_cannot_be_removed_makes_the_new_one_no_less_kept(rig: Rig) -> None:
    class Keeping(MemoryVideoStorage):
        def delete_prefix(self, prefix: str) -> int:  # noqa: ARG002  # the store's
            raise StorageUnavailable("away")

    lease = await lease_of(rig)
    saver = saver_of(rig, lease, Keeping())
    with structlog.testing.capture_logs() as logs:
        assert await saver.save(latents(1), 30)
        assert await saver.save(latents(2), 30)
        await saver.idle()
    assert [line["event"] for line in logs][-1] == "checkpoints_left_to_the_reaper"
    assert "unkept" not in await rig.record(lease.job), "there is nothing to excuse"


async def test_the_checkpoint_of_a_lost_lease_is_not_pointed_to(rig: Rig) -> None:
    lease = await lease_of(rig)
    saver = saver_of(rig, lease, storage := MemoryVideoStorage())
    await rig.store.yield_(lease)
    assert not await saver.save(latents(1), 30)
    assert "checkpoint" not in await rig.record(lease.job)
    assert not await saver.save(latents(2), 30), "it begins no more"
    assert len(list(storage.list("checkpoints/"))) == 1


async def test_patience_has_an_end(rig: Rig) -> None:
    saver = saver_of(rig, await lease_of(rig), storage := Slow())
    assert not await saver.save(latents(1), 0.05)
    saver.close()
    storage.go_on.set()
    await saver.idle()


async def test_without_a_scratch_volume_it_is_in_the_object_store_and_said_once(rig: Rig) -> None:
    lease = await lease_of(rig)
    rig.scratch.mkdir()
    (rig.scratch / "jobs").write_text("no folder")
    rig.change(files=JobFiles(rig.scratch / "jobs"))
    saver = saver_of(rig, lease, MemoryVideoStorage())
    with structlog.testing.capture_logs() as logs:
        assert await saver.save(latents(1), 30)
        assert await saver.save(latents(2), 30)
    assert [line["event"] for line in logs].count("scratch_unwritable") == 1


@pytest.mark.parametrize("step", [0, 3])
async def test_a_step_that_the_job_does_not_have_is_refused(rig: Rig, step: int) -> None:
    lease = await lease_of(rig)
    storage = MemoryVideoStorage()
    await saver_of(rig, lease, storage).save(latents(step), 30)
    await rig.store.yield_(lease)
    again = await rig.store.claim(lease.job.id, "test")
    assert isinstance(again, Lease)
    with structlog.testing.capture_logs() as logs:
        assert await saver_of(rig, again, storage).load(0, lambda: None) is None
    assert [line["event"] for line in logs][-1] == "checkpoint_ignored"


# While the object store is away


async def test_who_slept_through_its_patience_asks_again(rig: Rig) -> None:
    lease = await left_at(rig, storage := Away(), 4)
    storage.failures = 2
    slept = iter(range(0, 10_000, 100))  # between any two looks at the clock
    found = await saver_of(rig, lease, storage, lambda: next(slept)).load(60, lambda: None)
    assert found == latents(4)


async def test_what_could_not_be_read_is_neither_pointed_away_from_nor_removed(rig: Rig) -> None:
    lease = await left_at(rig, storage := Away(), 8)
    storage.failures = 3
    saver = saver_of(rig, lease, storage)
    assert await saver.load(0, lambda: None) is None
    assert storage.reads == 3
    storage.failures = 1
    await saver.save(latents(3), 30)
    assert saver.kept is None, "it is not known to be there"
    await saver.save(latents(4), 30)
    assert saver.kept == 8
    record = await rig.record(lease.job)
    assert (record["checkpoint"], record["checkpoint_step"]) == (lease.checkpoint_key, "8")
    assert [stored.key for stored in storage.list("checkpoints/")] == [lease.checkpoint_key]
    assert await saver.save(latents(9), 30), "it has caught up"
    assert (await rig.record(lease.job))["checkpoint_step"] == "9"
    assert len(list(storage.list("checkpoints/"))) == 1


@pytest.mark.parametrize("damaged", [None, b"torn"])
async def test_what_is_of_no_use_gives_way(rig: Rig, damaged: bytes | None) -> None:
    lease = await left_at(rig, storage := Away(), 8)
    assert lease.checkpoint_key is not None
    storage.delete_prefix("checkpoints/")
    if damaged is not None:
        storage.put(lease.checkpoint_key, damaged, "")
    saver = saver_of(rig, lease, storage)
    assert await saver.load(0, lambda: None) is None
    assert await saver.save(latents(3), 30)
    assert (await rig.record(lease.job))["checkpoint_step"] == "3"


async def test_what_went_meanwhile_gives_way_too(rig: Rig) -> None:
    lease = await left_at(rig, storage := Away(), 8)
    storage.failures = 3
    saver = saver_of(rig, lease, storage)
    assert await saver.load(0, lambda: None) is None
    storage.delete_prefix("checkpoints/")
    assert await saver.save(latents(3), 30)
    assert (await rig.record(lease.job))["checkpoint_step"] == "3"


async def test_what_only_the_scratch_volume_has_is_gone_on_with(rig: Rig) -> None:
    lease = await left_at(rig, storage := Away(), 4)
    storage.failures = 1
    assert not await saver_of(rig, lease, storage).save(latents(6), 30)
    await rig.store.yield_(lease)
    assert "strikes" not in await rig.record(lease.job)
    again = await rig.store.claim(lease.job.id, "test")
    assert isinstance(again, Lease)
    assert again.checkpoint_step == 4
    assert await saver_of(rig, again, storage).load(0, lambda: None) == latents(6)


async def test_an_object_store_that_is_silent_at_the_end_is_no_strike(rig: Rig) -> None:
    saver = saver_of(rig, lease := await lease_of(rig), storage := Slow())
    assert not await saver.save(latents(1), 0.05)
    await rig.store.yield_(lease)
    assert "strikes" not in await rig.record(lease.job)
    saver.close()
    storage.go_on.set()
    await saver.idle()
