"""The predictor while Redis or the object store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import structlog

from inference_service.lease_keeper import LeaseKeeper
from inference_service.predict import Predictor
from jobs.job import Delivery, EventKind, JobError, Phase
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import JobStore
from tests.inference_service.rig import Rig, Scripted, until
from tests.inference_service.support import Proxy


def error_of(reply: Delivery | None) -> JobError:
    assert reply is not None
    assert reply.kind is EventKind.FAILED
    assert reply.outcome is not None
    assert reply.outcome.error is not None
    return reply.outcome.error


@pytest.fixture
async def s3_proxy(settings: Settings) -> AsyncIterator[Proxy]:
    assert settings.aws_s3_endpoint is not None
    url = urlsplit(settings.aws_s3_endpoint)
    proxy = Proxy(url.hostname or "", url.port or 80)
    await proxy.up()
    yield proxy
    await proxy.away()


async def test_a_job_completes_although_s3_is_away_for_a_while(
    rig: Rig, settings: Settings, s3_proxy: Proxy
) -> None:
    storage = S3VideoStorage(replace(settings, aws_s3_endpoint=f"http://127.0.0.1:{s3_proxy.port}"))
    rig.predictor = Predictor(replace(rig.tools, storage=storage))
    await s3_proxy.away()
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))

    async def tried_twice() -> bool:
        return [line["event"] for line in logs].count("upload_retried") >= 2

    with structlog.testing.capture_logs() as logs:
        await until(tried_twice)
        await s3_proxy.up()
        reply = await work
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED


async def test_a_job_completes_although_redis_is_away_for_a_while(
    rig: Rig, pipeline: Scripted, settings: Settings
) -> None:
    url = urlsplit(settings.redis_url)
    proxy = Proxy(url.hostname or "", url.port or 6379)
    await proxy.up()
    secret = f":{url.password}@" if url.password else ""
    far = replace(settings, redis_url=url._replace(netloc=f"{secret}127.0.0.1:{proxy.port}").geturl())
    store = JobStore.connect(far)
    rig.predictor = Predictor(
        replace(
            rig.tools,
            store=store,
            keep=lambda lease, at: LeaseKeeper(lease, lambda: JobStore.connect(far), at),
        )
    )
    pipeline.script = pipeline.wait
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))
    await asyncio.to_thread(pipeline.started.wait, 30)
    await proxy.away()

    async def tried_twice() -> bool:
        return [line["event"] for line in logs].count("record_retried") >= 2

    with structlog.testing.capture_logs() as logs:
        pipeline.go_on.set()
        await until(tried_twice)
        assert list(rig.storage.list(f"videos/{job.id}/")), "the work is done, and is to be recorded"
        await proxy.up()
        reply = await work
    assert reply is not None
    assert reply.kind is EventKind.COMPLETED
    await store.close()
    await proxy.away()


async def test_cancelling_while_s3_is_away_ends_the_job(
    rig: Rig, settings: Settings, s3_proxy: Proxy
) -> None:
    storage = S3VideoStorage(replace(settings, aws_s3_endpoint=f"http://127.0.0.1:{s3_proxy.port}"))
    settings_short = replace(settings, lease_seconds=1)
    rig.predictor = Predictor(replace(rig.tools, storage=storage, store=JobStore.connect(settings_short)))
    await s3_proxy.away()
    job = await rig.submit()
    work = asyncio.create_task(rig.handle(job))

    async def uploading() -> bool:
        return (await rig.store.get(job.id)).phase is Phase.UPLOADING

    await until(uploading)
    await rig.store.cancel(job.id)
    reply = await work
    assert reply is not None
    assert reply.kind is EventKind.CANCELLED
    await rig.predictor.tools.store.close()
