from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from jobs.settings import DEFAULT_MODEL, Settings
from jobs.storage import S3VideoStorage, VideoStorage
from jobs.store import JobStore
from tests.inference_service.rig import MakeRig, Rig, Scripted, real_time
from tests.inference_service.slicing import Clock

if TYPE_CHECKING:
    from inference_service.mochi_pipeline import MochiVideoPipeline

# torch and diffusers take seconds to import: only the fixtures that need them do.


@pytest.fixture(scope="session")
def model_scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch folder that has the tiny model with random weights: it is built once for all tests."""
    from inference_service.mochi_loading import build_model
    from inference_service.tiny_model import tiny_model_folder

    scratch = tmp_path_factory.mktemp("scratch")
    tiny_model_folder(scratch, build_model, trained=scratch / "none")
    return scratch


@pytest.fixture(scope="session")
def tiny_folder(model_scratch: Path) -> Path:
    (folder,) = (model_scratch / "models").iterdir()
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> MochiVideoPipeline:
    from inference_service.mochi_loading import load_mochi, use_threads

    use_threads(1)  # a model this small gains nothing by a second one, and tests run beside others
    return load_mochi(tiny_folder, DEFAULT_MODEL)


@pytest.fixture
def settings_changes() -> dict[str, Any]:
    """Parametrize it to change settings."""
    return {}


@pytest.fixture
def settings(redis_url: str, s3_settings: Settings, settings_changes: dict[str, Any]) -> Settings:
    """A real Redis and a real S3 server."""
    return replace(s3_settings, redis_url=redis_url, **settings_changes)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[JobStore]:
    """The job store on an empty Redis."""
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.flushall()
    connected = JobStore.connect(settings)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def storage(s3_settings: Settings) -> VideoStorage:
    connected = S3VideoStorage(s3_settings)
    connected.check()
    return connected


@pytest.fixture
def make_rig(settings: Settings, store: JobStore, storage: VideoStorage, tmp_path: Path) -> MakeRig:
    return lambda pipeline: Rig(settings, store, storage, tmp_path / "scratch", pipeline)


@pytest.fixture
def pipeline() -> Scripted:
    return Scripted()


@pytest.fixture
def rig(make_rig: MakeRig, pipeline: Scripted) -> Rig:
    return make_rig(pipeline)


@pytest.fixture
def clock(rig: Rig, settings: Settings) -> Clock:
    """The predictor's."""
    clock = Clock()

    rig.change(clock=clock, keep=real_time(settings))
    return clock


@pytest.fixture
def steps_of_100_seconds(pipeline: Scripted, clock: Clock) -> None:
    pipeline.before_step = lambda _step: clock.add(100)
