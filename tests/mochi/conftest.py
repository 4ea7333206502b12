"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mochi import Client
from tests.mochi.clients import KINDS, Make, client_of
from tests.mochi.fake_server import FakeServer, fake_server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as found:
        yield found


@pytest.fixture
def storage() -> Iterator[FakeServer]:
    with fake_server() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOCHI_URL", raising=False)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a client of either kind."""
    with ExitStack() as stack:

        def made(url: str = "http://api.test", **options: object) -> Client:
            return stack.enter_context(client_of(request.param, url, **options))

        yield made
