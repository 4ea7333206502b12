"""What all tests share: a Redis server and an S3 server, real ones, started when first asked for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from tests.servers import ACCESS_KEY, BUCKET, SECRET_KEY, redis_server, s3_server

# A shell's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes come first: at the end one worker would be alone with them."""
    items.sort(key=lambda item: "simulation" not in item.path.parts)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of this test run, with a password. Flush it before use."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a SeaweedFS server of this test run."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield Settings(
            aws_s3_endpoint=endpoint,
            aws_s3_bucket=BUCKET,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
