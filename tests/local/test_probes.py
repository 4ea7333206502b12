from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from local.probes import http_answers, redis_answers
from tests.servers import PASSWORD, free_port

Answering = Callable[[bytes], bytes]


@asynccontextmanager
async def _server(answer: Answering) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.readline()))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"", False),
        (b"HTTP/1.1", False),
        (b"+PONG\r\n", False),
        (b"x" * 200_000, False),
    ],
)
async def test_http(answer: bytes, ready: bool) -> None:
    async with _server(lambda _: answer) as port:
        assert await http_answers("127.0.0.1", port, "/healthz")() is ready


async def test_http_asks_for_every_path() -> None:
    asked: list[bytes] = []

    def answer(line: bytes) -> bytes:
        asked.append(line)
        return b"HTTP/1.1 403 Forbidden\r\n\r\n" if b"two" in line else b"HTTP/1.1 200 OK\r\n\r\n"

    async with _server(answer) as port:
        assert not await http_answers("127.0.0.1", port, "/one", "/two", "/three")()
        assert await http_answers("127.0.0.1", port, "/one", "/two", statuses=(200, 403))()
    assert [line.split()[1] for line in asked] == [b"/one", b"/two"] * 2


async def test_nobody_listens() -> None:
    assert not await http_answers("127.0.0.1", free_port(), "/")()
    assert not await redis_answers("127.0.0.1", free_port(), "x")()


async def test_redis_answers_who_has_its_password(redis_url: str) -> None:
    port = urlsplit(redis_url).port
    assert port is not None
    assert await redis_answers("127.0.0.1", port, PASSWORD)()
    assert not await redis_answers("127.0.0.1", port, "another")()
