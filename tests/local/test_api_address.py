from __future__ import annotations

import errno
import socket

import pytest

from local.api_address import ApiAddress, check_free, explain
from local.errors import CannotStart
from tests.servers import free_port


def test_a_free_port_is_fine() -> None:
    check_free(ApiAddress("127.0.0.1", free_port()))
    check_free(ApiAddress("localhost", free_port()))


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} of 127.0.0.1 is in use: stop .* or .* --port"):
            check_free(ApiAddress("127.0.0.1", port))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7", "not a host", "x" * 300, "a..b"])
def test_a_host_that_is_not_ours(host: str) -> None:
    with pytest.raises(CannotStart, match=r"is no address of this machine.*--host"):
        check_free(ApiAddress(host, free_port()))


def test_a_port_that_needs_privileges() -> None:
    """Which ports do is a setting of the machine, and root may have them all: the error is made here."""
    said = explain(OSError(errno.EACCES, "Permission denied"), "127.0.0.1", 80)
    assert said == "port 80 of 127.0.0.1 needs privileges: choose one from 1024 on with --port"


@pytest.mark.parametrize(
    ("host", "url", "public"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", False),
        ("localhost", "http://localhost:80", False),
        ("::1", "http://[::1]:80", False),
        ("0.0.0.0", "http://127.0.0.1:80", True),  # noqa: S104  # nothing listens there
        ("::", "http://[::1]:80", True),
        ("192.0.2.1", "http://192.0.2.1:80", True),
        ("a.example", "http://a.example:80", True),
    ],
)
def test_its_url_and_who_can_reach_it(host: str, url: str, public: bool) -> None:
    address = ApiAddress(host, 80)
    assert (address.url, address.public) == (url, public)
