"""What every VideoStorage does, over each of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from jobs.settings import Settings
from jobs.storage import MemoryVideoStorage, S3VideoStorage, VideoStorage

BODY = bytes(range(256)) * 4000  # 1 MB: several chunks


@pytest.fixture(scope="module", params=["memory", "s3"])
def storage(request: pytest.FixtureRequest) -> VideoStorage:
    if request.param == "memory":
        return MemoryVideoStorage()
    settings: Settings = request.getfixturevalue("s3_settings")
    storage = S3VideoStorage(settings)
    storage.check()
    return storage


@pytest.fixture
def folder(storage: VideoStorage) -> Iterator[str]:
    """A folder of this test alone."""
    folder = f"contract/{uuid4().hex}/"
    yield folder
    storage.delete_prefix(folder)


def read(storage: VideoStorage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(storage.read(key, start, end))


def test_check_passes_again_and_again(storage: VideoStorage) -> None:
    storage.check()
    storage.check()


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_what_was_put_is_there(storage: VideoStorage, folder: str, tmp_path: Path, kind: str) -> None:
    key, source = f"{folder}video.mp4", tmp_path / "video.mp4"
    source.write_bytes(BODY)

    put = storage.put(key, BODY if kind == "bytes" else source, "video/mp4")

    assert put.key == key
    assert put.s3_url == f"s3://videos/{key}"
    assert put.bytes == len(BODY)
    assert put.etag
    assert '"' not in put.etag
    found = storage.head(key)
    assert found is not None
    assert (found.key, found.s3_url, found.etag, found.bytes) == (key, put.s3_url, put.etag, put.bytes)
    assert found.modified is not None
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert read(storage, key) == BODY


def test_an_empty_object(storage: VideoStorage, folder: str) -> None:
    assert storage.put(f"{folder}empty", b"", "text/plain").bytes == 0
    assert read(storage, f"{folder}empty") == b""
    assert read(storage, f"{folder}empty", 0, 5) == b""


def test_a_second_put_replaces_the_object(storage: VideoStorage, folder: str) -> None:
    first = storage.put(f"{folder}a", b"first", "text/plain")
    second = storage.put(f"{folder}a", b"the second", "text/plain")
    assert first.etag != second.etag
    assert read(storage, f"{folder}a") == b"the second"
    assert len(list(storage.list(folder))) == 1


def test_a_missing_file_is_no_fault_of_the_store(storage: VideoStorage, folder: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.put(f"{folder}a", tmp_path / "missing", "text/plain")
    assert storage.head(f"{folder}a") is None


def test_head_of_nothing_is_none(storage: VideoStorage, folder: str) -> None:
    assert storage.head(f"{folder}missing") is None


def test_a_folder_is_no_object(storage: VideoStorage, folder: str) -> None:
    storage.put(f"{folder}sub/a", b"a", "text/plain")
    assert storage.head(f"{folder}sub") is None
    with pytest.raises(KeyError):
        read(storage, f"{folder}sub")


def test_reading_nothing_is_a_key_error(storage: VideoStorage, folder: str) -> None:
    for start, end in ((0, None), (5, None), (0, 9), (5, 4)):
        with pytest.raises(KeyError, match="missing"):
            next(storage.read(f"{folder}missing", start, end), b"")


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (0, 0), (5, 9), (300_000, 700_000), (1_000_000, None), (len(BODY) - 1, None), (10, 10**9)],
)
def test_ranges(storage: VideoStorage, folder: str, start: int, end: int | None) -> None:
    storage.put(f"{folder}a", BODY, "video/mp4")
    assert read(storage, f"{folder}a", start, end) == BODY[start : None if end is None else end + 1]


@pytest.mark.parametrize(
    ("start", "end"), [(len(BODY), None), (len(BODY) + 5, len(BODY) + 9), (5, 4), (0, -1)]
)
def test_a_range_without_a_byte_is_empty(
    storage: VideoStorage, folder: str, start: int, end: int | None
) -> None:
    storage.put(f"{folder}a", BODY, "video/mp4")
    assert read(storage, f"{folder}a", start, end) == b""


def test_a_negative_start_is_refused(storage: VideoStorage, folder: str) -> None:
    storage.put(f"{folder}a", b"a", "text/plain")
    with pytest.raises(ValueError, match="-1"):
        read(storage, f"{folder}a", -1)


def test_a_read_can_be_left(storage: VideoStorage, folder: str) -> None:
    storage.put(f"{folder}a", BODY, "video/mp4")
    for _ in range(100):  # more than there are connections
        chunks = storage.read(f"{folder}a")
        assert BODY.startswith(next(chunks))
        chunks.close()  # type: ignore[attr-defined]  # both are generators
    assert read(storage, f"{folder}a") == BODY


def test_list_finds_what_begins_with_the_prefix(storage: VideoStorage, folder: str) -> None:
    names = ["a/1", "a/2", "a/deep/3", "ab/4", "b"]
    put = {f"{folder}{name}": storage.put(f"{folder}{name}", name.encode(), "text/plain") for name in names}

    def names_of(prefix: str) -> set[str]:
        return {o.key.removeprefix(folder) for o in storage.list(folder + prefix)}

    assert names_of("") == set(names)
    assert names_of("a/") == {"a/1", "a/2", "a/deep/3"}
    assert names_of("a") == {"a/1", "a/2", "a/deep/3", "ab/4"}
    assert names_of("c/") == set()
    for found in storage.list(folder):
        assert (found.etag, found.bytes) == (put[found.key].etag, put[found.key].bytes)
        assert found.s3_url == put[found.key].s3_url
        assert found.modified is not None
        assert found.modified.tzinfo is not None


def test_delete_prefix_removes_that_folder_and_no_other(storage: VideoStorage, folder: str) -> None:
    for name in ("a/1", "a/deep/2", "ab/3"):
        storage.put(folder + name, b"x", "text/plain")

    assert storage.delete_prefix(f"{folder}a/") == 2

    assert [o.key for o in storage.list(folder)] == [f"{folder}ab/3"]
    assert storage.head(f"{folder}a/1") is None
    assert storage.delete_prefix(f"{folder}a/") == 0
    assert storage.delete_prefix(f"{folder}never/") == 0


@pytest.mark.parametrize("prefix", ["", "/", "videos", "videos/job", "videos//", "//", "/videos/"])
def test_delete_prefix_refuses_what_is_no_folder(storage: VideoStorage, folder: str, prefix: str) -> None:
    storage.put(f"{folder}a", b"a", "text/plain")
    with pytest.raises(ValueError, match="slash"):
        storage.delete_prefix(prefix)
    assert storage.head(f"{folder}a") is not None


def test_more_objects_than_one_page_holds(storage: VideoStorage, folder: str) -> None:
    keys = [f"{folder}{n:04}" for n in range(1050)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.put(key, b"x", "text/plain"), keys))
    assert sorted(o.key for o in storage.list(folder)) == keys
    assert storage.delete_prefix(folder) == len(keys)
    assert list(storage.list(folder)) == []


def test_pages(storage: VideoStorage, folder: str) -> None:
    keys = [f"{folder}{n:02}/{name}" for n in range(5) for name in ("a", "b")]
    for key in keys:
        storage.put(key, b"x", "text/plain")
    found, after = [], ""
    while page := storage.page(folder, after, 3):
        assert len(page) <= 3
        found += [stored.key for stored in page]
        after = found[-1]
    assert found == keys
    assert [stored.key for stored in storage.page(folder, f"{folder}03/")] == keys[6:]
    assert storage.page(f"{folder}never/", "") == []
    assert all(stored.modified is not None for stored in storage.page(folder, ""))
    with pytest.raises(ValueError, match="slash"):
        storage.page("", "")


@pytest.mark.parametrize("name", ["with space", "plus+and&=", "umlaut-ü", "percent%2F", "emoji-🎈", "q?#"])
def test_keys_with_odd_characters(storage: VideoStorage, folder: str, name: str) -> None:
    key = folder + name
    storage.put(key, b"x", "text/plain")
    assert read(storage, key) == b"x"
    assert [o.key for o in storage.list(folder)] == [key]
    assert storage.delete_prefix(folder) == 1


def test_many_threads_at_once(storage: VideoStorage, folder: str) -> None:
    def round_trip(n: int) -> bool:
        body = str(n).encode() * 1000
        storage.put(f"{folder}{n}", body, "text/plain")
        return read(storage, f"{folder}{n}") == body and storage.presign(f"{folder}{n}", 60) != ""

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(round_trip, range(100)))
    assert storage.delete_prefix(folder) == 100


@pytest.mark.parametrize("expires", [1, 3600, 7 * 86400])
def test_presign(storage: VideoStorage, expires: int) -> None:
    assert "a/video.mp4" in storage.presign("a/video.mp4", expires)
    assert "video-7.mp4" in storage.presign("a/video.mp4", expires, "video-7.mp4")


@pytest.mark.parametrize("expires", [0, -1, 7 * 86400 + 1])
def test_presign_refuses_what_no_signature_can_be_valid_for(storage: VideoStorage, expires: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        storage.presign("a/video.mp4", expires)
