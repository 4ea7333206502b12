"""The reaper does one round at a time, however often it is asked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from eventing.publisher import MemoryPublisher
from functions.reaper.tick import Reaper
from functions.wiring import Wiring
from jobs.settings import Settings
from jobs.store import Audit


class Store:
    """Has nothing to do, and takes its time to say so."""

    def __init__(self) -> None:
        self.rounds = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def due(self, _limit: int) -> list[str]:
        self.rounds += 1
        self.asked.set()
        await self.answers.wait()
        return []

    async def tick(self) -> tuple[()]:
        return ()

    async def expire(self, _limit: int) -> list[str]:
        return []

    async def audit(self, _limit: int) -> Audit:
        return Audit(0, (), True, ())

    async def sweep_place(self, _every: float) -> None:
        return None


async def test_a_round_that_is_asked_for_again_is_done_once() -> None:
    store = Store()
    wiring = SimpleNamespace(store=store, publisher=MemoryPublisher(), settings=Settings())
    reaper = Reaper(cast(Wiring, wiring))
    first = asyncio.create_task(reaper.tick())
    await store.asked.wait()
    await reaper.tick()  # the PingSource had no answer, and asks again
    assert store.rounds == 1
    store.answers.set()
    await first
    await reaper.tick()
    assert store.rounds == 2
