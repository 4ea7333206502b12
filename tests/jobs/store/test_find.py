"""The job that was submitted under a key."""

from __future__ import annotations

import pytest

from tests.jobs.store.support import Rig, new_job


async def test_a_job_is_found_under_its_key(rig: Rig) -> None:
    await rig.claimed()
    job = (await rig.store.submit(new_job(key="event:/a 1", fingerprint="f"))).job
    found = await rig.store.find("event:/a 1")
    assert found is not None
    assert (found.id, found.position) == (job.id, 0)


@pytest.mark.parametrize("key", ["event:/a 2", "", "event:/a 1 "])
async def test_another_key_finds_nothing(rig: Rig, key: str) -> None:
    await rig.store.submit(new_job(key="event:/a 1"))
    assert await rig.store.find(key) is None


async def test_what_has_expired_is_not_found(rig: Rig) -> None:
    job = (await rig.store.submit(new_job(key="event:/a 1"))).job
    await rig.store.cancel(job.id)
    assert await rig.store.find("event:/a 1") is not None
    await rig.advance(rig.settings.retention_seconds)
    await rig.store.expire()
    assert await rig.store.find("event:/a 1") is None
