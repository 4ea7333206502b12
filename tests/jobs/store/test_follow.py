"""follow: every milestone is seen, whatever happens to the messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from redis.asyncio.connection import AbstractConnection

from jobs.errors import JobNotFound
from jobs.follow import Watch
from jobs.job import Change, Job, Phase, Status
from tests.jobs.store.support import T0, Rig, done, until

PHASES = [Phase.DENOISING, Phase.DECODING, Phase.ENCODING, Phase.UPLOADING]
STATES = ["waiting", "starting", "encoding_prompt", *map(str, PHASES), "completed"]


def states(changes: list[Change]) -> list[str]:
    """Phases, or statuses at the end; progress within a phase is one with it."""
    named = [str(c.phase or c.status) for c in changes]
    return [name for n, name in enumerate(named) if n == 0 or name != named[n - 1]]


async def collect(changes: AsyncIterator[Change]) -> list[Change]:
    return [change async for change in changes]


async def up_to(changes: AsyncIterator[Change], state: str) -> list[Change]:
    found = []
    async for change in changes:
        found.append(change)
        if state == (change.phase or change.status):
            return found
    raise AssertionError(f"{state} was never seen")


async def subscribed(rig: Rig, count: int) -> bool:
    return len(await rig.redis.pubsub_channels("job:*")) == count


async def work(rig: Rig, job: Job) -> None:
    lease = await rig.claim(job.id)
    for phase in PHASES:
        await rig.advance(1)
        await rig.store.renew(lease, phase, 8)
    await rig.store.complete(job.id, done(lease))


async def test_a_job_that_has_ended_is_told_in_full(rig: Rig) -> None:
    job = (await rig.submit()).job
    await work(rig, job)
    changes = await collect(rig.store.follow(job.id))
    assert states(changes) == STATES
    assert [c.version for c in changes] == sorted({c.version for c in changes})
    assert changes[0].at_us == T0
    assert changes[-1].status is Status.COMPLETED
    assert changes[-1].job == await rig.store.get(job.id)


async def test_changes_are_seen_as_they_happen(rig: Rig) -> None:
    job = (await rig.submit()).job
    follower = asyncio.create_task(collect(rig.another().follow(job.id)))
    await work(rig, job)
    assert states(await follower) == STATES


async def test_progress_within_a_phase_is_seen(rig: Rig) -> None:
    job = (await rig.submit()).job
    lease = await rig.claim(job.id)
    changes = rig.store.follow(job.id)
    await up_to(changes, "encoding_prompt")
    for step in (1, 2, 3):
        await rig.store.renew(lease, Phase.DENOISING, step)
        async for change in changes:
            assert change.phase is Phase.DENOISING
            if change.step == step:
                break
    await rig.store.complete(job.id, done(lease))
    assert states(await collect(changes)) == ["completed"]


async def test_a_watcher_resumes_after_the_version_it_has_seen(rig: Rig) -> None:
    job = (await rig.submit()).job
    await work(rig, job)
    everything = await collect(rig.store.follow(job.id))
    for n, change in enumerate(everything):
        assert await collect(rig.store.follow(job.id, change.version)) == everything[n + 1 :]


async def test_a_version_that_redis_lost_resumes_from_the_present(rig: Rig) -> None:
    job = (await rig.submit()).job
    changes = rig.store.follow(job.id, 2**53 - 1)
    follower = asyncio.create_task(collect(changes))
    await until(lambda: subscribed(rig, 1))
    await work(rig, job)
    assert states(await follower)[-1] == "completed"


async def test_an_unknown_job(rig: Rig) -> None:
    with pytest.raises(JobNotFound):
        await anext(rig.store.follow("0" * 32))


async def test_a_job_that_is_cancelled_while_it_waits(rig: Rig) -> None:
    await rig.submit()
    job = (await rig.submit()).job
    changes = rig.store.follow(job.id)
    assert states([await anext(changes)]) == ["waiting"]
    await rig.store.cancel(job.id)
    assert states(await collect(changes)) == ["cancelled"]


async def test_a_cut_connection_is_made_again_and_nothing_is_missed(rig: Rig) -> None:
    job = (await rig.submit()).job
    changes = rig.store.follow(job.id)
    await up_to(changes, "starting")
    lease = await rig.claim(job.id)
    found = await up_to(changes, "encoding_prompt")
    for phase in PHASES:
        assert await rig.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub") in (0, 1)
        await rig.store.renew(lease, phase, 8)
        found += await up_to(changes, phase)
    await rig.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await rig.store.complete(job.id, done(lease))
    assert states(found + await collect(changes)) == STATES[2:]


async def test_a_lost_message_is_made_up_for(rig: Rig) -> None:
    job = (await rig.submit()).job
    changes = rig.store.follow(job.id)
    await up_to(changes, "starting")
    # As if the message of the end had been lost: the record changes, and nobody is told.
    fields = {"status": "cancelled", "version": T0 + 9, "milestones": f"{T0 + 9}:cancelled:0"}
    await rig.redis.hdel(f"job:{job.id}", "phase")
    await rig.redis.hset(f"job:{job.id}", mapping=fields)
    assert states(await collect(changes)) == ["cancelled"]


async def test_all_watchers_of_a_store_share_one_connection(rig: Rig) -> None:
    rig.with_limit(10)
    jobs = [(await rig.submit()).job for _ in range(10)]
    followers = [asyncio.create_task(collect(rig.store.follow(j.id))) for j in jobs for _ in range(3)]
    await until(lambda: subscribed(rig, len(jobs)))
    clients = await rig.redis.client_list()
    assert sum(int(c["sub"]) > 0 for c in clients) == 1
    for job in jobs:
        await work(rig, job)
    assert all(states(changes) == STATES for changes in await asyncio.gather(*followers))
    await until(lambda: subscribed(rig, 0))


async def test_a_slow_watcher_sees_all_milestones_and_the_newest_progress(rig: Rig) -> None:
    job = (await rig.submit()).job
    changes = rig.store.follow(job.id)
    first = await anext(changes)
    lease = await rig.claim(job.id)
    for step in range(200):
        await rig.store.renew(lease, Phase.DENOISING, step)
    await rig.store.complete(job.id, done(lease))
    rest = await collect(changes)
    assert states([first, *rest]) == ["waiting", "starting", "encoding_prompt", "denoising", "completed"]
    assert len(rest) < 10


async def test_a_watcher_that_leaves_leaves_nothing(rig: Rig) -> None:
    job = (await rig.submit()).job
    follower = asyncio.create_task(collect(rig.store.follow(job.id)))
    await until(lambda: subscribed(rig, 1))
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    await until(lambda: subscribed(rig, 0))
    await work(rig, job)
    assert states(await collect(rig.store.follow(job.id))) == STATES


class Slow:
    """A connection that takes nothing while `open` is not set, and says nothing."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.tried = asyncio.Event()
        self.said: list[tuple[str, ...]] = []

    async def connect(self) -> None:
        pass

    async def send_command(self, *command: str, check_health: bool) -> None:
        assert not check_health
        self.said.append(command)
        self.tried.set()
        if command[0] == "SUBSCRIBE":
            await self.open.wait()

    async def read_response(self, **_options: object) -> None:
        await asyncio.Event().wait()

    async def disconnect(self) -> None:
        pass


async def test_a_watcher_that_leaves_while_it_comes_leaves_nothing() -> None:
    connection = Slow()
    connection.open.set()
    watch = Watch(lambda: cast(AbstractConnection, connection))
    async with watch.of("first"):
        await connection.tried.wait()
        connection.open.clear()
        connection.tried.clear()
        coming = asyncio.create_task(watch.of("second").__aenter__())
        await connection.tried.wait()
        coming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await coming
        assert connection.said[-2:] == [("SUBSCRIBE", "job:second"), ("UNSUBSCRIBE", "job:second")]
    await watch.close()
