"""Following a job to its end keeps to its time, whatever the server does."""

from __future__ import annotations

import threading

import httpx
import pytest

from mochi import Client
from mochi.errors import Timeout
from mochi.follow import see_through


def test_a_silent_server_does_not_outlast_the_timeout() -> None:
    asked, released = threading.Event(), threading.Event()

    def silent(_request: httpx.Request) -> httpx.Response:
        asked.set()
        released.wait(60)
        return httpx.Response(503)

    with Client("http://mochi", transport=httpx.MockTransport(silent)) as client:
        try:
            with pytest.raises(Timeout):
                see_through(client, "0" * 32, None, 0.2, as_json=False)
            assert asked.is_set()
            assert not released.is_set()
        finally:
            released.set()
