"""Videos in the memory of this process: the twin of the S3 storage, for tests and for trying things."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from urllib.parse import quote, urlencode

from jobs.video_storage import StoredObject, attachment, checked_expiry, checked_folder, checked_range

__all__ = ["MemoryVideoStorage"]

_CHUNK = 256 * 1024  # bytes


@dataclass(frozen=True)
class _Kept:
    body: bytes
    content_type: str
    modified: datetime


class MemoryVideoStorage:
    """A VideoStorage that lasts as long as it is referred to."""

    def __init__(self, bucket: str = "videos") -> None:
        self._bucket = bucket
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def check(self) -> None:
        """Memory is always there."""

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        """Keep a copy."""
        body = bytes(source) if isinstance(source, bytes) else source.read_bytes()
        kept = _Kept(body, content_type, datetime.now(UTC))
        with self._lock:
            self._kept[key] = kept
        return self._described(key, kept)

    def head(self, key: str) -> StoredObject | None:
        """The object, or None where there is none."""
        kept = self._kept.get(key)
        return None if kept is None else self._described(key, kept)

    def content_type(self, key: str) -> str:
        """The content type that the object was put with. Raises KeyError where there is none."""
        return self._kept[key].content_type

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (inclusive), in chunks."""
        holds_any = checked_range(start, end)
        body = self._kept[key].body
        if not holds_any:
            return
        stop = len(body) if end is None else min(end + 1, len(body))
        for at in range(start, stop, _CHUNK):
            yield body[at : min(at + _CHUNK, stop)]

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object below `prefix`; how many there were."""
        folder = checked_folder(prefix)
        with self._lock:
            keys = [key for key in self._kept if key.startswith(folder)]
            for key in keys:
                del self._kept[key]
        return len(keys)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins with `prefix`."""
        with self._lock:
            kept = [(key, value) for key, value in self._kept.items() if key.startswith(prefix)]
        return iter([self._described(key, value) for key, value in kept])

    def page(self, folder: str, after: str, limit: int = 1000) -> Sequence[StoredObject]:
        """Objects below a folder, from behind a key on."""
        found = sorted(self.list(checked_folder(folder)), key=lambda stored: stored.key)
        return [stored for stored in found if stored.key > after][:limit]

    def presign(self, key: str, expires: int, filename: str | None = None) -> str:
        """A `memory://` URL, which only names the object: nothing serves it."""
        query: dict[str, str | int] = {"expires": checked_expiry(expires)}
        if filename is not None:
            query["response-content-disposition"] = attachment(filename)
        return f"memory://{self._bucket}/{quote(key)}?{urlencode(query)}"

    def _described(self, key: str, kept: _Kept) -> StoredObject:
        etag = hashlib.md5(kept.body, usedforsecurity=False).hexdigest()  # as S3 does
        return StoredObject(key, f"s3://{self._bucket}/{key}", etag, len(kept.body), kept.modified)
