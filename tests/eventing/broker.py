"""A real HTTP server that takes events, keeps them, and answers or fails as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from eventing.codec import decode
from eventing.events import Event

__all__ = ["Received", "RecordingBroker", "recording_broker", "serving", "status"]

Connection: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RecordingBroker:
    """What came in, and what is answered: bytes; None closes the connection, `hold` waits first."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    taken: list[Event] = field(default_factory=list)  # answered 2xx
    connections: int = 0
    script: list[bytes | None] = field(default_factory=list)  # one for each request; then `answer`
    answer: bytes = OK
    hold: asyncio.Event | None = None  # answers wait until it is set
    arrived: asyncio.Event = field(default_factory=asyncio.Event)  # a request has come in

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video/default"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except asyncio.IncompleteReadError:
            pass  # the client has gone

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        self.requests.append(request)
        self.arrived.set()
        answer = self.script.pop(0) if self.script else self.answer
        if self.hold is not None:
            await self.hold.wait()
        if answer is None:
            return False
        if answer.startswith(b"HTTP/1.1 2"):
            self.taken.append(decode(request.headers, request.body))
        writer.write(answer)
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
    return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def status(code: int, *headers: str) -> bytes:
    """An answer of that status, without a body."""
    return "\r\n".join([f"HTTP/1.1 {code} Said", "content-length: 0", *headers, "", ""]).encode()


@contextlib.asynccontextmanager
async def serving(connection: Connection) -> AsyncIterator[int]:
    """A TCP server on a free port, the port; at the end every connection of it has ended."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connection(reader, writer)
        except ConnectionError:
            pass  # the client has gone
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def recording_broker() -> AsyncIterator[RecordingBroker]:
    """The server, on a free port, until the end of the block."""
    broker = RecordingBroker()
    async with serving(broker.serve) as broker.port:
        yield broker
