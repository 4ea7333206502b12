"""A load generator: keep-alive HTTP/1.1 connections that each send one request after the other.

Written on asyncio's protocols because a full HTTP client would use more of the two cores than the server
that is measured. It reads what our servers and uvicorn's kin send: a status line and a content-length.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Measured", "post_many"]


@dataclass(frozen=True)
class Measured:
    """Latencies of the answered requests in seconds, sorted, and what it all took."""

    latencies: tuple[float, ...]
    seconds: float
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds; `share` from 0 to 1."""
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


class _Connection(asyncio.Protocol):
    """One connection, on which one request is under way at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = bytes(self._received).partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if length is None:
            raise ValueError("the server sent an answer without a content-length")
        if len(body) >= length and self._answer is not None:
            self._received.clear()
            self._answer.set_result(int(lines[0].split()[1]))

    async def send(self, request: bytes) -> int:
        """The status of the answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def post_many(url: str, body: Callable[[int], bytes], concurrency: int, count: int) -> Measured:
    """POST `count` JSON bodies over `concurrency` connections."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    head = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    numbers = iter(range(count))
    latencies: list[float] = []
    statuses: dict[int, int] = {}

    async def worker() -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, host, parts.port or 80)
        try:
            for number in numbers:
                data = body(number)
                request = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data
                since = time.perf_counter()
                status = await connection.send(request)
                latencies.append(time.perf_counter() - since)
                statuses[status] = statuses.get(status, 0) + 1
        finally:
            connection.close()

    since = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Measured(tuple(sorted(latencies)), time.perf_counter() - since, statuses)
