"""Simulated storage: objects in memory, with simulated times, that is away or does not answer when it should.

The methods run in threads, as those of the S3 storage do; each blocks in simulated time before and after
its effect, and its caller's process may die there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jobs.errors import StorageUnavailable
from jobs.storage import StoredObject
from jobs.video_storage import checked_folder, checked_range

__all__ = ["Objects", "SimStorage"]

_CHUNK = 1 << 16


class Objects:
    """What is stored."""

    def __init__(self, bucket: str = "videos") -> None:
        self.bucket = bucket
        self.bodies: dict[str, bytes] = {}
        self.modified: dict[str, int] = {}  # µs
        self.puts: dict[str, int] = {}  # times

    def described(self, key: str) -> StoredObject | None:
        """As the store reports it."""
        body = self.bodies.get(key)
        if body is None:
            return None
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        modified = datetime.fromtimestamp(self.modified[key] / 1e6, UTC)
        return StoredObject(key, f"s3://{self.bucket}/{key}", etag, len(body), modified)


class SimStorage:
    """A VideoStorage of one process."""

    def __init__(
        self, objects: Objects, point: Callable[[str, bool], None], now_us: Callable[[], int]
    ) -> None:
        """`point`: called before (False) and after (True) an effect; it may block, die, or raise."""
        self._objects, self._point, self._now_us = objects, point, now_us

    def check(self) -> None:
        self._point("check", False)

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:  # noqa: ARG002  # nobody asks
        body = bytes(source) if isinstance(source, bytes) else source.read_bytes()
        self._point(f"put {key}", False)
        self._objects.bodies[key] = body
        self._objects.modified[key] = self._now_us()
        self._objects.puts[key] = self._objects.puts.get(key, 0) + 1
        self._point(f"put {key}", True)
        stored = self._objects.described(key)
        if stored is None:
            raise StorageUnavailable("removed at once")
        return stored

    def head(self, key: str) -> StoredObject | None:
        self._point(f"head {key}", False)
        return self._objects.described(key)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if not checked_range(start, end):
            return
        self._point(f"read {key}", False)
        body = self._objects.bodies[key][start : None if end is None else end + 1]
        for at in range(0, len(body), _CHUNK):
            yield body[at : at + _CHUNK]

    def delete_prefix(self, prefix: str) -> int:
        folder = checked_folder(prefix)
        self._point(f"delete {prefix}", False)
        keys = [key for key in self._objects.bodies if key.startswith(folder)]
        for key in keys:
            del self._objects.bodies[key]
        self._point(f"delete {prefix}", True)
        return len(keys)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._point(f"list {prefix}", False)
        found = [self._objects.described(key) for key in self._objects.bodies if key.startswith(prefix)]
        return iter([stored for stored in found if stored is not None])

    def page(self, folder: str, after: str, limit: int = 1000) -> Sequence[StoredObject]:
        found = sorted(self.list(checked_folder(folder)), key=lambda stored: stored.key)
        return [stored for stored in found if stored.key > after][:limit]

    def presign(self, key: str, expires: int, filename: str | None = None) -> str:  # noqa: ARG002  # nobody asks
        return f"memory://{key}"
