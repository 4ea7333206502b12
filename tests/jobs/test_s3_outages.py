"""An S3 server that is away, hangs, breaks off or answers nonsense."""

from __future__ import annotations

import socket
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from jobs.errors import StorageUnavailable
from jobs.settings import Settings
from tests.jobs.s3_faults import calls, forwarding, impatient, server
from tests.servers import free_port


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


def _listing(key: str, rest: bytes = b"") -> bytes:
    """A listing of one object, and what else it says."""
    entry = f"<Key>{key}</Key><ETag>x</ETag><Size>1</Size><LastModified>2030-01-31T12:00:00Z</LastModified>"
    body = b"<R><Contents>%s</Contents>%s</R>" % (entry.encode(), rest)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)


def test_a_page_is_filled_by_a_server_that_gives_fewer_objects_than_it_has(s3_settings: Settings) -> None:
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    with server(_listing("a/1", more), later=_listing("a/2")) as endpoint:
        page = impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).page("a/", "", 3)
    assert [stored.key for stored in page] == ["a/1", "a/2"]


def test_it_works_again_once_the_server_is_back(s3_settings: Settings) -> None:
    port = free_port()
    target = urlsplit(s3_settings.aws_s3_endpoint or "")
    storage = impatient(replace(s3_settings, aws_s3_endpoint=f"http://127.0.0.1:{port}"))
    with pytest.raises(StorageUnavailable):
        storage.check()
    with forwarding(port, target.port or 0):
        storage.check()
