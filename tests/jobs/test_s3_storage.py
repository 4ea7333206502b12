"""What only a real S3 server shows: signatures, parts, buckets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pytest

from jobs.errors import StorageUnavailable
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from tests.servers import free_port

BODY = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def storage(s3_settings: Settings) -> S3VideoStorage:
    storage = S3VideoStorage(s3_settings)
    storage.check()
    return storage


@pytest.fixture
def key(storage: S3VideoStorage) -> Iterator[str]:
    """The key of a video that is there."""
    folder = f"s3/{uuid4().hex}/"
    storage.put(f"{folder}video.mp4", BODY, "video/mp4")
    yield f"{folder}video.mp4"
    storage.delete_prefix(folder)


# Presigned URLs


def test_a_presigned_url_needs_no_credentials(storage: S3VideoStorage, key: str) -> None:
    head = storage.head(key)
    assert head is not None
    answer = httpx.get(storage.presign(key, 60))
    assert answer.status_code == 200
    assert answer.content == BODY
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["etag"] == f'"{head.etag}"'


def test_a_presigned_url_takes_ranges(storage: S3VideoStorage, key: str) -> None:
    answer = httpx.get(storage.presign(key, 60), headers={"range": "bytes=100-199"})
    assert answer.status_code == 206
    assert answer.content == BODY[100:200]
    assert answer.headers["content-range"] == f"bytes 100-199/{len(BODY)}"


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("job-7.mp4", 'attachment; filename="job-7.mp4"'),
        (
            'a "red" circle.mp4',
            "attachment; filename=\"a _red_ circle.mp4\"; filename*=UTF-8''a%20%22red%22%20circle.mp4",
        ),
        (
            "kreis-ü\r\nx: y.mp4",
            "attachment; filename=\"kreis-___x: y.mp4\"; filename*=UTF-8''kreis-%C3%BC%0D%0Ax%3A%20y.mp4",
        ),
    ],
)
def test_a_browser_saves_it_under_a_name(
    storage: S3VideoStorage, key: str, filename: str, disposition: str
) -> None:
    answer = httpx.get(storage.presign(key, 60, filename))
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == disposition


def test_without_a_signature_nothing_is_read(storage: S3VideoStorage, key: str) -> None:
    url = urlsplit(storage.presign(key, 60))
    assert httpx.get(urlunsplit(url._replace(query=""))).status_code == 403


@pytest.mark.parametrize("part", ["X-Amz-Signature", "X-Amz-Expires", "path"])
def test_a_tampered_url_is_refused(storage: S3VideoStorage, key: str, part: str) -> None:
    storage.put(key.replace("video.mp4", "other.mp4"), b"another's", "video/mp4")
    url = urlsplit(storage.presign(key, 60))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    if part == "X-Amz-Signature":
        query[part] = "0" * 64
    elif part == "X-Amz-Expires":
        query[part] = "600"
    else:
        url = url._replace(path=url.path.replace("video.mp4", "other.mp4"))
    assert httpx.get(urlunsplit(url._replace(query=urlencode(query)))).status_code == 403


def test_an_expired_url_is_refused(storage: S3VideoStorage, key: str) -> None:
    url = storage.presign(key, 1)
    give_up_at = time.monotonic() + 30
    while (status := httpx.get(url).status_code) == 200 and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert status == 403
    assert httpx.get(storage.presign(key, 60)).status_code == 200


def test_urls_are_signed_for_the_public_endpoint(s3_settings: Settings, key: str) -> None:
    port = urlsplit(s3_settings.aws_s3_endpoint or "").port
    public = S3VideoStorage(replace(s3_settings, s3_public_endpoint=f"http://localhost:{port}"))
    url = public.presign(key, 60)
    assert urlsplit(url).netloc == f"localhost:{port}"
    assert httpx.get(url).content == BODY
    elsewhere = S3VideoStorage(replace(s3_settings, s3_public_endpoint="https://videos.example.org"))
    assert elsewhere.presign(key, 60).startswith(
        f"https://videos.example.org/{s3_settings.aws_s3_bucket}/{key}?"
    )
    head = elsewhere.head(key)
    assert head is not None
    assert head.bytes == len(BODY)


# Content


def test_a_large_file_goes_in_parts(s3_settings: Settings, key: str, tmp_path: Path) -> None:
    source, large = tmp_path / "large.mp4", key.replace("video.mp4", "large.mp4")
    source.write_bytes(BODY * 80)  # 20 MB: three parts
    storage = S3VideoStorage(s3_settings, multipart_from=8 * 1024 * 1024)
    put = storage.put(large, source, "video/mp4")
    head = storage.head(large)
    assert head is not None
    assert (put.etag, put.bytes) == (head.etag, source.stat().st_size)
    assert put.etag.endswith("-3")  # of three parts
    assert b"".join(storage.read(large)) == source.read_bytes()
    assert httpx.head(storage.presign(large, 60)).status_code in (200, 403)  # signed for GET alone
    assert httpx.get(storage.presign(large, 60)).headers["content-type"] == "video/mp4"


def test_a_missing_bucket_is_made(s3_settings: Settings) -> None:
    storage = S3VideoStorage(replace(s3_settings, aws_s3_bucket=f"made-{uuid4().hex}"))
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        list(storage.list(""))
    storage.check()
    storage.check()
    assert storage.put("a/b", b"x", "text/plain").bytes == 1
    assert storage.delete_prefix("a/") == 1


# The process


def test_importing_the_storage_loads_no_boto3() -> None:
    code = (
        "import sys, json, jobs.storage; print(json.dumps([m for m in sys.modules if m.startswith('boto')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout) == []


def test_the_environment_of_the_machine_does_not_change_it(
    s3_settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert S3VideoStorage(s3_settings).head(key) is not None
