"""Each test of this folder runs on Valkey, and on Redis where `redis-server` is installed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.settings import Settings
from tests.jobs.store.support import Rig
from tests.servers import PASSWORD, accepts, free_port, running

SERVERS = ["valkey", *(["redis"] if shutil.which("redis-server") else [])]


@pytest.fixture(scope="session", params=SERVERS)
def server_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server, with a password."""
    if request.param == "valkey":
        yield request.getfixturevalue("redis_url")
    else:
        with debian_redis(tmp_path_factory.mktemp("debian-redis")) as url:
            yield url


@contextmanager
def debian_redis(folder: Path) -> Iterator[str]:
    """The `redis-server` of this machine, as it comes but for a password and no files."""
    port = free_port()
    config = folder / "redis.conf"
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\ndir {folder}\nsave ""\n')
    argv = [shutil.which("redis-server") or "redis-server", str(config)]
    with running(argv, folder / "log", lambda: accepts(port)):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@pytest.fixture
async def rig(server_url: str) -> AsyncIterator[Rig]:
    """A pool of one credit on an empty server, at T0."""
    rig = Rig(Settings(redis_url=server_url), Redis.from_url(server_url, decode_responses=True))
    await rig.start()
    yield rig
    await rig.close()
