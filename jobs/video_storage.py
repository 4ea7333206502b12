"""What a store of videos does (`VideoStorage`) and how it reports an object. Knows no server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

__all__ = [
    "MAX_PRESIGN_SECONDS",
    "StoredObject",
    "VideoStorage",
    "attachment",
    "checked_expiry",
    "checked_folder",
    "checked_range",
]

MAX_PRESIGN_SECONDS = 7 * 86400  # a signature of version 4 is valid for a week at most

_UNSAFE_IN_QUOTES = frozenset('"\\%')


@dataclass(frozen=True)
class StoredObject:
    """An object as the store reports it."""

    key: str
    s3_url: str
    etag: str  # without quotes
    bytes: int
    modified: datetime | None = None


class VideoStorage(Protocol):
    """All methods but `presign` raise StorageUnavailable when the store is away or refuses.

    Every method may be called from many threads at once.
    """

    def check(self) -> None:
        """Make sure that the bucket exists (create it if it may) and can be used.

        Raises ConfigurationError for wrong credentials or a bucket that is not ours.
        """

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        """Upload; the object is whole or absent. Once more with the same key replaces it."""

    def head(self, key: str) -> StoredObject | None:
        """The object, or None where there is none."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (inclusive), in chunks; none where the range holds none.

        The read begins with the first `next`, which raises KeyError where there is no such object.
        Closing the iterator early gives its connection back. Raises ValueError for a negative `start`.
        """

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object below `prefix` (which ends in a slash); how many there were.

        Raises ValueError for a prefix that is no folder, so that nobody empties the bucket by accident.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins with `prefix`, in no particular order."""

    def page(self, folder: str, after: str, limit: int = 1000) -> Sequence[StoredObject]:
        """Up to `limit` (at most 1000) objects below `folder`, in the store's order, from behind a key on.

        `after` is the last key of the page before, or empty. Fewer than `limit`: there are no more. Raises
        ValueError for a folder that is none.
        """

    def presign(self, key: str, expires: int, filename: str | None = None) -> str:
        """A URL, signed for the public endpoint, that gets the object for `expires` seconds.

        With a `filename`, a browser saves it under that name. Raises ValueError unless `expires` is
        between a second and seven days.
        """


def checked_folder(prefix: str) -> str:
    """`prefix`, if it names a folder: `a/`, `a/b/`. Raises ValueError else.

    An empty part is refused too: stores that keep keys as paths take `videos//` for `videos/`, and an
    empty job id would then remove the videos of all jobs.
    """
    parts = prefix.split("/")
    if len(parts) < 2 or parts[-1] or not all(parts[:-1]):
        raise ValueError(f"{prefix!r} is no folder: it has to end in a slash and to have no empty part")
    return prefix


def checked_range(start: int, end: int | None) -> bool:
    """Whether the range can hold a byte. Raises ValueError for a negative `start`."""
    if start < 0:
        raise ValueError(f"a read cannot start at byte {start}")
    return end is None or end >= start


def checked_expiry(seconds: int) -> int:
    """`seconds`, if a presigned URL can be valid for so long. Raises ValueError else."""
    if not 1 <= seconds <= MAX_PRESIGN_SECONDS:
        raise ValueError(f"a URL cannot be valid for {seconds} s: 1 to {MAX_PRESIGN_SECONDS} are allowed")
    return seconds


def attachment(filename: str) -> str:
    """The Content-Disposition that makes a browser save a file under this name (RFC 6266)."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in _UNSAFE_IN_QUOTES else "_" for c in filename
    )
    extended = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"
    return f'attachment; filename="{plain}"{extended}'
