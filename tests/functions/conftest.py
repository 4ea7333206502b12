"""The functions as processes, shared by all tests of this folder; each test finds an empty Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
import redis

from jobs.settings import Settings
from jobs.store import JobStore
from tests.functions import documented
from tests.functions.support import Function, RecordingBroker, function, recording_broker

#: The queue short-low holds no more; one credit, so that a second job waits.
BACKLOG_LIMIT = 12


@pytest.fixture(scope="session")
def broker_process() -> Iterator[RecordingBroker]:
    with recording_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def settings(redis_url: str, s3_settings: Settings, broker_process: RecordingBroker) -> Settings:
    """The settings of the functions under test. Their database of Redis is no other test's."""
    return replace(
        s3_settings,
        redis_url=redis_url.removesuffix("/0") + "/5",
        k_sink=broker_process.url,
        model_name="mochi-1-preview",
        backlog_limit=BACKLOG_LIMIT,
    )


@pytest.fixture(scope="session")
def environ(settings: Settings) -> dict[str, str]:
    return {
        "REDIS_URL": settings.redis_url,
        "K_SINK": str(settings.k_sink),
        "AWS_S3_ENDPOINT": str(settings.aws_s3_endpoint),
        "AWS_S3_BUCKET": settings.aws_s3_bucket,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key,
        "MODEL_NAME": settings.model_name,
        "MOCHI_BACKLOG_LIMIT": str(settings.backlog_limit),
    }


@pytest.fixture(scope="session")
def submit(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    with function("submit", environ, tmp_path_factory.mktemp("submit")) as running:
        yield running


@pytest.fixture(scope="session")
def completion(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    with function("completion", environ, tmp_path_factory.mktemp("completion")) as running:
        yield running


@pytest.fixture(scope="session")
def reaper(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    with function("reaper", environ, tmp_path_factory.mktemp("reaper")) as running:
        yield running


@pytest.fixture
def keys(settings: Settings) -> Iterator[redis.Redis]:
    """Redis itself, emptied."""
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushdb()
        yield client


def traces(keys: redis.Redis) -> set[str]:
    """All that is in Redis but what each new connection says about the pool."""
    pool = "pool:mochi-1"
    found = {key.decode() for key in keys.scan_iter()} - {pool}
    said = {field.decode() for field in keys.hscan_iter(pool, no_values=True)} - {"run_id", "limit"}
    return found | {f"{pool} {field}" for field in said}


@pytest.fixture
def untouched(keys: redis.Redis) -> Iterator[None]:
    """What the test sends leaves no trace in Redis."""
    yield
    assert traces(keys) == set()


@pytest.fixture
def broker(broker_process: RecordingBroker) -> RecordingBroker:
    """The Broker, with nothing received yet."""
    broker_process.clear()
    return broker_process


@pytest.fixture
async def store(settings: Settings, keys: redis.Redis) -> AsyncIterator[JobStore]:
    """The store that the functions use, to bring jobs where a test wants them."""
    assert keys.dbsize() == 0
    store = JobStore.connect(settings)
    yield store
    await store.close()


@pytest.fixture
async def api(
    submit: Function, broker: RecordingBroker, keys: redis.Redis
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of submit that checks every answer against the OpenAPI document."""
    assert keys.ping()
    assert not broker.received
    async with await documented.client(submit.url) as client:
        yield client
