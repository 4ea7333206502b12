"""The contract of a broker, over the local one as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.local.broker.contract import BrokerContract, Deployment, broker_delivery, subscriptions
from tests.local.broker.recorder import Recorder
from tests.local.broker.support import LocalBroker
from tests.servers import free_port


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Deployment]:
    broker = LocalBroker(tmp_path_factory.mktemp("broker"), redis_url)
    late_port = free_port()
    with Recorder() as recorder, httpx.Client(trust_env=False) as client:
        try:
            url = broker.deploy(subscriptions(recorder, late_port), broker_delivery(recorder))
            yield Deployment(url, recorder, late_port, client)
        finally:
            broker.close()


class TestLocalBroker(BrokerContract):
    """Every test of the contract."""
