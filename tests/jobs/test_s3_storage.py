"""What only a real S3 server shows: signatures, credentials, and what happens when it is away or hangs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pytest

from jobs.errors import ConfigurationError, StorageUnavailable
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from tests.servers import free_port

BODY = bytes(range(256)) * 1000
SECRET = "a-wrong-secret-that-nobody-may-see"


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


def impatient(settings: Settings) -> S3VideoStorage:
    """A storage that gives up soon."""
    return S3VideoStorage(settings, connect_timeout=0.3, read_timeout=0.3, attempts=2)


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


# Settings that are wrong


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"aws_secret_access_key": SECRET}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_access_key_id": "nobody"}, "AWS_ACCESS_KEY_ID"),
        ({"aws_access_key_id": "nobody", "aws_secret_access_key": SECRET}, "AWS_ACCESS_KEY_ID"),
        ({"aws_secret_access_key": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_s3_bucket": "Not A Bucket"}, "AWS_S3_BUCKET"),
        ({"aws_s3_bucket": "a"}, "AWS_S3_BUCKET"),
    ],
)
def test_check_names_the_wrong_setting(s3_settings: Settings, wrong: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names) as raised:
        S3VideoStorage(replace(s3_settings, **wrong)).check()  # type: ignore[arg-type]  # all are strings
    assert SECRET not in str(raised.value)
    assert s3_settings.aws_secret_access_key not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_any_credentials(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    storage = S3VideoStorage(replace(s3_settings, aws_access_key_id="", aws_secret_access_key=""))
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        storage.check()
    with pytest.raises(StorageUnavailable, match="no credentials"):
        storage.put("a/b", b"x", "text/plain")


def refusing(status: int, code: str) -> bytes:
    """An answer of an S3 server that refuses."""
    body = f"<Error><Code>{code}</Code><Message>hidden {SECRET}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} No\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "code", "names"),
    [
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "AWS_S3_BUCKET.*'videos'.*AWS_SECRET_ACCESS_KEY"),
        (403, "AllAccessDisabled", "AWS_S3_BUCKET"),
        (401, "Unauthorized", "AWS_S3_BUCKET"),
        (400, "ExpiredToken", "AWS_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION.*'us-east-1'"),
        (400, "InvalidBucketName", "AWS_S3_BUCKET"),
        (403, "RequestTimeTooSkewed", "clock"),
    ],
)
def test_check_reads_what_a_server_refuses(s3_settings: Settings, status: int, code: str, names: str) -> None:
    with server(refusing(status, code)) as endpoint, pytest.raises(ConfigurationError, match=names) as raised:
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).check()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (507, "Full")])
def test_check_blames_no_setting_for_a_server_in_trouble(
    s3_settings: Settings, status: int, code: str
) -> None:
    with server(refusing(status, code)) as endpoint, pytest.raises(StorageUnavailable, match=code) as raised:
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).check()
    assert SECRET not in str(raised.value)


def test_objects_that_the_server_keeps_are_told(s3_settings: Settings) -> None:
    body = (
        b"<R><Contents><Key>a/b</Key><ETag>x</ETag><Size>1</Size><LastModified>2030-01-31T12:00:00Z</LastModified>"
        b"</Contents><Error><Key>a/b</Key><Code>AccessDenied</Code></Error></R>"
    )
    both = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
    with (
        server(both) as endpoint,
        pytest.raises(StorageUnavailable, match="kept 1 of 1 objects: AccessDenied"),
    ):
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).delete_prefix("a/")


def test_aws_itself_is_the_default() -> None:
    storage = S3VideoStorage(
        Settings(aws_access_key_id="a", aws_secret_access_key="b", aws_region="eu-west-1")
    )
    url = urlsplit(storage.presign("videos/1/video.mp4", 60))
    assert (url.scheme, url.netloc) == ("https", "s3.eu-west-1.amazonaws.com")
    assert url.path == "/videos/videos/1/video.mp4"


def test_with_wrong_credentials_every_method_is_unavailable(s3_settings: Settings, key: str) -> None:
    storage = S3VideoStorage(replace(s3_settings, aws_secret_access_key=SECRET))
    for call in calls(storage, key):
        with pytest.raises(StorageUnavailable, match="refused") as raised:
            call()
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize("name", ["aws_s3_endpoint", "s3_public_endpoint"])
def test_an_endpoint_that_is_none(s3_settings: Settings, name: str) -> None:
    broken = "http://user:hidden@host name:9000"
    with pytest.raises(ConfigurationError, match="MOCHI_S3_PUBLIC_ENDPOINT") as raised:
        S3VideoStorage(replace(s3_settings, **{name: broken}))  # type: ignore[arg-type]  # both are strings
    assert "hidden" not in str(raised.value)


# The server is away, hangs, or answers nonsense


def calls(storage: S3VideoStorage, key: str) -> list[Callable[[], object]]:
    return [
        lambda: storage.put(key, b"x", "text/plain"),
        lambda: storage.head(key),
        lambda: next(storage.read(key)),
        lambda: list(storage.list("a/")),
        lambda: storage.delete_prefix("a/"),
    ]


def assert_unavailable(settings: Settings, problem: str) -> None:
    storage = impatient(settings)
    for call in [storage.check, *calls(storage, "a/b")]:
        with pytest.raises(StorageUnavailable, match=problem) as raised:
            call()
        assert urlsplit(settings.aws_s3_endpoint or "").netloc in str(raised.value)
        assert settings.aws_secret_access_key not in str(raised.value)
    assert storage.presign("a/b", 60)  # needs no server


def test_a_server_that_is_away(s3_settings: Settings) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert_unavailable(replace(s3_settings, aws_s3_endpoint=away), "cannot be reached")


def test_a_server_that_hangs(s3_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert_unavailable(replace(s3_settings, aws_s3_endpoint=endpoint), "did not answer in time")


@contextmanager
def server(answer: bytes, then_hang: bool = False) -> Iterator[str]:
    """A server that gives each connection this answer and closes it, or keeps it open."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            kept = []
            while True:
                connection, _ = listener.accept()
                if over.is_set():
                    connection.close()
                    break
                connection.recv(65536)
                connection.sendall(answer)
                if then_hang:
                    kept.append(connection)
                else:
                    connection.close()
            for connection in kept:
                connection.close()

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy",
        b"HTTP/1.1 404 Lost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhtml",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_a_server_that_is_no_object_store(s3_settings: Settings, answer: bytes) -> None:
    with server(answer) as endpoint, pytest.raises(StorageUnavailable, match="the object store at 127"):
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).check()


@pytest.mark.parametrize("then_hang", [True, False])
def test_a_read_that_breaks_off(s3_settings: Settings, then_hang: bool) -> None:
    half = b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\netag: "x"\r\nconnection: close\r\n\r\nhalf'
    with server(half, then_hang) as endpoint, pytest.raises(StorageUnavailable):
        list(impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).read("a/b"))


def test_a_server_that_knows_no_ranges(s3_settings: Settings) -> None:
    whole = b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: "x"\r\nconnection: close\r\n\r\nbody'
    with server(whole) as endpoint, pytest.raises(StorageUnavailable, match="ranges"):
        list(impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).read("a/b", 1, 2))


def test_it_works_again_once_the_server_is_back(s3_settings: Settings) -> None:
    port = free_port()
    target = urlsplit(s3_settings.aws_s3_endpoint or "")
    storage = impatient(replace(s3_settings, aws_s3_endpoint=f"http://127.0.0.1:{port}"))
    with pytest.raises(StorageUnavailable):
        storage.check()
    with forwarding(port, target.port or 0):
        storage.check()


@contextmanager
def forwarding(port: int, to: int) -> Iterator[None]:
    """Whatever connects to `port` is connected with the port `to`."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)

    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            inner, _ = listener.accept()
            with inner, socket.create_connection(("127.0.0.1", to)) as outer:
                back = Thread(target=copy, args=(outer, inner), daemon=True)
                back.start()
                copy(inner, outer)

        Thread(target=serve, daemon=True).start()
        yield


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
