"""`/healthz` of submit tells of a Redis that may lose jobs, and so does its log."""

from __future__ import annotations

import httpx
import redis

from tests.functions.support import Function


async def test_a_redis_that_may_lose_jobs_is_told_of(
    api: httpx.AsyncClient, submit: Function, reaper: Function, keys: redis.Redis
) -> None:
    assert keys.config_get("appendonly") == {"appendonly": "no"}
    (await api.get("/healthz")).raise_for_status()
    health = (await api.get("/healthz")).json()
    assert health["status"] == "ok"
    assert any("appendonly no" in warning for warning in health["warnings"])
    said = [line["reason"] for line in submit.lines("jobs_may_be_lost")]
    assert said == health["warnings"]  # once
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{reaper.url}/healthz")).json() == {"status": "ok"}
