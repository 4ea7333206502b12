"""What the tests of slices share: a clock that tests move, a long job, an object store that refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from inference_service.predict import Predictor
from jobs.errors import StorageUnavailable
from jobs.job import Delivery, EventKind
from jobs.storage import StoredObject, VideoStorage
from tests.inference_service.rig import Rig, Scripted
from tests.inference_service.support import SPEC

__all__ = ["LONG", "Clock", "Refusing", "etag", "in_one_go"]

LONG = replace(SPEC, num_inference_steps=10)


class Clock:
    """The real clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added

    def add(self, seconds: float) -> None:
        self.added += seconds


def etag(reply: Delivery) -> str:
    assert reply.kind is EventKind.COMPLETED
    assert reply.outcome is not None
    assert reply.outcome.artifact is not None
    return reply.outcome.artifact.etag


async def in_one_go(rig: Rig) -> str:
    """What the video of the long job is to be."""
    whole = Predictor(replace(rig.tools, pipeline=Scripted()))
    job = await rig.submit(LONG)
    reply = await whole.handle(job.id, job.delivery)
    assert reply is not None
    await rig.complete(reply)
    return etag(reply)


class Refusing:
    """An object store that takes some keys only after a while."""

    def __init__(self, storage: VideoStorage, refuses: Callable[[str], bool]) -> None:
        self._storage, self._refuses = storage, refuses
        self.refused = 0

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        if self._refuses(key):
            self.refused += 1
            raise StorageUnavailable("away")
        return self._storage.put(key, source, content_type)

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)
