"""Tags for images: a hash of all that an image is made of, so that the same image is not made twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["files_of", "tag_of"]

_DIGITS = 12
_CACHES = {"__pycache__", ".func"}


def files_of(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files that the names stand for, those of folders too, in a fixed order; no caches.

    Raises FileNotFoundError for a name that is not there.
    """
    for name in names:
        path = root / name
        if not path.exists():
            raise FileNotFoundError(f"{name}: no such file or folder, and an image is made of it")
        inside = path.rglob("*") if path.is_dir() else (path,)
        yield from sorted(p for p in inside if p.is_file() and not _CACHES.intersection(p.parts))


def tag_of(root: Path, names: Iterable[str], *more: str) -> str:
    """The tag of an image that is made of these files and folders below `root`, and of `more`."""
    digest = hashlib.sha256()
    for path in files_of(root, names):
        _add(digest, str(path.relative_to(root)).encode())
        _add(digest, path.read_bytes())
    for text in more:
        _add(digest, text.encode())
    return digest.hexdigest()[:_DIGITS]


def _add(digest: hashlib._Hash, data: bytes) -> None:
    # With its length, so that no two lists of parts look alike.
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)
