"""One running system for all end-to-end tests: `mochi up` with the tiny model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mochi import Client
from tests.e2e.system import System, mochi_up


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with mochi_up(tmp_path_factory.mktemp("system")) as started:
        yield started


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    with Client(system.url) as connected:
        yield connected
