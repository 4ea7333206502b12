"""What the store makes of a Redis that is away, full, read-only, strange or new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from jobs.connection import Server
from jobs.errors import ConfigurationError, StoreUnavailable
from jobs.job import Phase
from jobs.profile import shipped_profile
from jobs.scripts import transitions
from jobs.settings import Settings
from jobs.store import JobStore, Lease, Renewal
from tests.jobs.store.support import CLOCK, Rig, asked, done, new_job, until
from tests.servers import PASSWORD, free_port


@pytest.fixture
async def sick(rig: Rig) -> AsyncIterator[Rig]:
    """A rig whose server is well again afterwards."""
    yield rig
    await rig.redis.config_set("maxmemory", "0")
    await rig.redis.execute_command("REPLICAOF", "NO", "ONE")


async def test_a_ping_says_that_all_is_well(rig: Rig) -> None:
    await rig.store.ping()


async def test_nothing_is_there() -> None:
    store = JobStore.connect(Settings(redis_url=f"redis://:hidden-word@127.0.0.1:{free_port()}/0"))
    for call in (store.ping(), store.submit(new_job()), store.get("0" * 32), store.load_profile()):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert "hidden-word" not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        await anext(store.follow("0" * 32))
    await store.close()


@pytest.mark.parametrize("credentials", [":hidden-word@", "", "nobody:hidden-word@"])
async def test_wrong_credentials(rig: Rig, credentials: str) -> None:
    url = rig.settings.redis_url.replace(f":{PASSWORD}@", credentials)
    store = JobStore.connect(replace(rig.settings, redis_url=url))
    with pytest.raises(ConfigurationError) as refused:
        await store.ping()
    assert "REDIS_URL" in str(refused.value)
    with pytest.raises(StoreUnavailable) as away:
        await store.submit(new_job())
    assert "hidden-word" not in f"{refused.value}{away.value}"
    await store.close()


@pytest.mark.parametrize("url", ["redis://:hidden-word@host:port/0", "http://:hidden-word@host/0"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JobStore.connect(Settings(redis_url=url))
    assert "REDIS_URL" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


async def test_a_full_server_takes_no_job_but_lets_jobs_end(sick: Rig) -> None:
    lease = await sick.claimed()
    waiting = (await sick.submit()).job
    before = sorted(await sick.redis.keys("*"))
    await sick.redis.config_set("maxmemory", "1")
    for call in (sick.submit(), sick.store.ping(), sick.store.renew(lease, Phase.DENOISING, 1)):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert "memory" in str(caught.value)
    assert (await sick.store.get(waiting.id)).position == 0
    await sick.redis.config_set("maxmemory", "0")
    assert sorted(await sick.redis.keys("*")) == before
    assert await sick.store.renew(lease, Phase.DENOISING, 1) is Renewal.OK


async def test_a_read_only_replica_takes_no_writes(sick: Rig) -> None:
    job = (await sick.submit()).job
    await sick.redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
    for call in (sick.submit(), sick.store.ping(), sick.store.claim(job.id, "gpu-0")):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert "read-only" in str(caught.value)
    assert (await sick.store.get(job.id)).id == job.id


async def test_a_busy_server(rig: Rig) -> None:
    await rig.redis.config_set("lua-time-limit", "10")
    other: Any = Redis.from_url(rig.settings.redis_url)
    stuck = asyncio.create_task(other.eval("while true do end", 0))

    async def busy() -> bool:
        try:
            await rig.store.ping()
        except StoreUnavailable as error:
            return "busy" in str(error)
        return False

    try:
        await until(busy)
    finally:
        await rig.redis.execute_command("SCRIPT", "KILL")
        await asyncio.gather(stuck, return_exceptions=True)
        await rig.redis.config_set("lua-time-limit", "5000")
        await other.aclose()


async def test_too_few_connections_are_no_redis_that_is_away(rig: Rig) -> None:
    server = Server(rig.settings, transitions(), connections=1, wait_seconds=0.2)
    await server.call("ping")
    await rig.redis.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    answers = await asyncio.gather(*(server.call("ping") for _ in range(2)), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
    assert [str(error) for error in failed] == [
        "all 1 connections of this process to Redis were in use for 0.2 s"
    ]
    await server.close()


async def test_a_redis_that_may_lose_jobs_is_told_of(rig: Rig) -> None:
    def config(policy: str, appendonly: str) -> Awaitable[None]:
        return rig.redis.config_set(  # type: ignore[no-any-return]  # a plain client
            "maxmemory-policy", policy, "appendonly", appendonly
        )

    before = await rig.redis.config_get("maxmemory-policy", "appendonly")
    try:
        await config("noeviction", "yes")
        assert await rig.store.dangers() == ()
        await config("volatile-lru", "yes")  # nothing of ours has a time to live
        assert await rig.store.dangers() == ()
        await config("allkeys-lfu", "no")
        removes, forgets = await rig.store.dangers()
        assert "maxmemory-policy allkeys-lfu" in removes
        assert "append-only" in forgets
    finally:
        await config(before["maxmemory-policy"], before["appendonly"])


async def test_a_redis_that_says_nothing_of_itself(rig: Rig) -> None:
    await rig.redis.execute_command("ACL", "SETUSER", "shy", "on", ">word", "~*", "&*", "+@all", "-info")
    url = rig.settings.redis_url.replace(f":{PASSWORD}@", "shy:word@")
    store = JobStore.connect(replace(rig.settings, redis_url=url))
    assert await store.dangers() == ()
    await store.ping()
    await store.close()
    await rig.redis.execute_command("ACL", "DELUSER", "shy")


async def test_a_forgotten_script_is_loaded_again(rig: Rig) -> None:
    await rig.submit()
    await rig.redis.script_flush()
    assert (await rig.submit()).created


async def test_cut_connections_are_made_again(rig: Rig) -> None:
    first = await rig.submit()
    for _ in range(5):
        await rig.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert (await rig.store.get(first.job.id)).id == first.job.id


async def test_many_more_calls_than_connections_wait_for_their_turn(rig: Rig) -> None:
    store = rig.with_limit(1000)
    submissions = await asyncio.gather(*(rig.submit() for _ in range(300)))
    assert len({s.job.seq for s in submissions}) == 300
    assert (await store.stats()).credits == 300


async def test_a_cancelled_call_breaks_no_later_one(rig: Rig) -> None:
    job = (await rig.submit()).job
    for n in range(40):
        call = asyncio.create_task(rig.store.get(job.id))
        for _ in range(n % 8):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert (await rig.store.get(job.id)).id == job.id


async def test_a_new_server_extends_all_leases_once(rig: Rig) -> None:
    store = rig.with_limit(3)
    lease = await rig.claimed()
    recorded = await rig.claimed()
    await store.record(recorded, done(recorded))
    unclaimed = (await rig.submit()).job
    await rig.advance(3600)  # Redis was away, and comes back
    await rig.redis.hset("pool:mochi-1", "run_id", "of-the-server-before")
    store = rig.another()
    assert list(await store.due()) == [unclaimed.id, recorded.job.id]
    assert await rig.due(lease.job.id) == 60
    assert await store.renew(lease, Phase.DENOISING, 1) is Renewal.OK
    await rig.advance(60)
    store = rig.another()  # it is known by now
    assert await rig.due(lease.job.id) == 0
    assert asked(await store.reap(lease.job.id)) == [lease.job.id]


async def test_on_redis_own_clock(rig: Rig) -> None:
    store = JobStore.connect(rig.settings)
    seconds, micros = await rig.redis.time()
    job = (await store.submit(new_job())).job
    assert 0 <= job.created_us - (seconds * 1_000_000 + micros) < 60_000_000
    lease = await store.claim(job.id, "gpu-0")
    assert isinstance(lease, Lease)
    assert lease.job.started_us is not None
    assert lease.job.started_us > job.created_us
    await store.close()


async def test_a_simulated_clock_is_the_only_one(rig: Rig) -> None:
    await rig.redis.set("now", 5)
    store = JobStore(rig.settings, clock=CLOCK)
    assert (await store.submit(new_job())).job.created_us == 5
    await store.close()


async def test_the_profile_is_kept(rig: Rig) -> None:
    assert await rig.store.load_profile() is None
    profile = shipped_profile("tiny-mochi")
    assert profile is not None
    await rig.store.save_profile(profile)
    assert await rig.store.load_profile() == profile
    await rig.redis.set("profile:mochi-1", '{"name": "damaged"}')
    assert await rig.store.load_profile() is None
