"""Where videos are kept: any S3 server. Synchronous, as boto3 is; asyncio code calls it in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """An object as the store reports it."""

    key: str
    s3_url: str
    etag: str  # without quotes
    bytes: int
    modified: datetime | None = None


class VideoStorage(Protocol):
    """All methods but `presign` raise StorageUnavailable when the store is away or refuses."""

    def check(self) -> None:
        """Make sure that the bucket exists (create it if it may) and can be used.

        Raises ConfigurationError for wrong credentials or a bucket that is not ours.
        """

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        """Upload; the object is whole or absent."""

    def head(self, key: str) -> StoredObject | None:
        """The object, or None where there is none."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (inclusive), in chunks. Raises KeyError where there is none."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object below `prefix` (which ends in a slash); how many there were."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below `prefix`."""

    def presign(self, key: str, expires: int, filename: str | None = None) -> str:
        """A URL, signed for the public endpoint, that gets the object for `expires` seconds."""
