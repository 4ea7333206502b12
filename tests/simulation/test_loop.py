"""The simulated loop: time, killed and stopped processes, threads that take turns."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from tests.simulation.loop import PROCESS, Crash, Process, SimLoop, new_loop


def start(loop: SimLoop, process: Process, work: object) -> None:
    context = copy_context()
    context.run(PROCESS.set, process)
    context.run(loop.create_task, work)


def test_time_is_simulated() -> None:
    loop = new_loop()

    async def main() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(86400))
        return loop.time()

    assert loop.run(main()) == 86400


def test_a_killed_process_does_nothing_more() -> None:
    loop, process, done = new_loop(), Process("p"), list[str]()

    async def work() -> None:
        done.append("begun")
        try:
            await asyncio.sleep(10)
            done.append("ended")
        finally:
            done.append("cleaned up")

    async def main() -> list[str]:
        start(loop, process, work())
        await asyncio.sleep(5)
        process.dead = True
        await asyncio.sleep(100)
        return list(done)

    assert loop.run(main()) == ["begun"]


def test_a_stopped_process_goes_on_later() -> None:
    loop, process, woke = new_loop(), Process("p"), list[float]()

    async def work() -> None:
        await asyncio.sleep(10)
        woke.append(loop.time())

    async def main() -> None:
        start(loop, process, work())
        await asyncio.sleep(5)
        process.stopped_until = 60
        await asyncio.sleep(100)

    loop.run(main())
    assert woke == [60]


def test_threads_block_in_simulated_time_and_take_turns() -> None:
    loop, seen = new_loop(), list[tuple[str, float]]()

    def work(name: str, pause: float) -> str:
        for _ in range(2):
            loop.block(pause)
            seen.append((name, loop.time()))
        return name

    async def main() -> list[str]:
        return list(await asyncio.gather(asyncio.to_thread(work, "a", 2), asyncio.to_thread(work, "b", 3)))

    assert loop.run(main()) == ["a", "b"]
    assert seen == [("a", 2), ("b", 3), ("a", 4), ("b", 6)]


def test_what_a_thread_raises_is_raised_where_it_is_awaited() -> None:
    def work() -> None:
        raise OSError("full")

    async def main() -> None:
        await asyncio.to_thread(work)

    with pytest.raises(OSError, match="full"):
        new_loop().run(main())


def test_waiting_for_what_never_comes_is_a_crash() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Crash, match="nothing is left to run"):
        new_loop().run(main())
