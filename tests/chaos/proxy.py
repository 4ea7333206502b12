"""A TCP proxy on loopback whose connections can be cut, refused, silenced and delayed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Passes everything on to a port, until it is told otherwise. It runs in a thread of its own."""

    def __init__(self, target: int = 0) -> None:
        """`target`: may be set later; until then nobody is there."""
        self.port = 0
        self.connections = 0  # made so far
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._delay = 0.0
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._tell(self._end.set)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """End every connection with a reset."""
        self._tell(self._cut)

    def refuse(self) -> None:
        """Cut, and end every new connection too."""

        def refuse() -> None:
            self._refusing = True
            self._cut()

        self._tell(refuse)

    def silence(self) -> None:
        """Let nothing through; connections stay, and new ones are taken."""
        self._tell(self._passing.clear)

    def delay(self, seconds: float) -> None:
        """Let everything through, this much later."""

        def delay() -> None:
            self._delay = seconds

        self._tell(delay)

    def restore(self) -> None:
        """Pass everything on again."""

        def restore() -> None:
            self._refusing, self._delay = False, 0.0
            self._passing.set()

        self._tell(restore)

    def _tell(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(OSError):
            try:
                if not self._refusing:
                    await self._join(reader, writer)
            finally:
                self._writers.discard(writer)
                writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(far_writer)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From one side to the other, to the end of what is sent."""
        while data := await reader.read(65536):
            await self._passing.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
