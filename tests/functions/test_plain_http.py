"""Requests that offer another protocol, as bytes on a connection: each is answered with its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from functions.plain_http import PlainHttp
from functions.serve import SleepingServer

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
WEBSOCKET = b"upgrade: websocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n"
SIZED = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Empty:\r\n%sContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a?b=c HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)
EXPECTING = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n%sContent-Length: 5\r\n\r\nhello"
EMPTY = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n%s\r\n"


async def echo(request: Request) -> JSONResponse:
    body = (await request.body()).decode()
    return JSONResponse(f"{request.method} {request.url.path}?{request.url.query} {body}")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    config = uvicorn.Config(app, port=0, http=PlainHttp, ws="none", log_config=None, lifespan="off")
    server = SleepingServer(config)
    await server_started(server, task := asyncio.create_task(server.serve()))
    yield server.servers[0].sockets[0].getsockname()[1]
    server.tell_to_stop()
    await task


async def server_started(server: SleepingServer, task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        while not server.started:  # uvicorn tells nobody
            assert not task.done()
            await asyncio.sleep(0.01)


async def answers(port: int, pieces: list[bytes], count: int = 1) -> list[bytes]:
    """The bodies of so many answers to what is sent piece by piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        found: list[bytes] = []
        while len(found) < count:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                continue
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            found.append(await reader.readexactly(int(length.split(b":")[1])))
    writer.close()
    return found


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET, b""], ids=["h2c", "websocket", "none"])
@pytest.mark.parametrize("request_", [SIZED, CHUNKED, EXPECTING], ids=["sized", "chunked", "expecting"])
async def test_the_body_is_read_however_it_comes(port: int, request_: bytes, offer: bytes) -> None:
    sent = request_ % offer
    wanted = [b'"POST /a?b=c hello"']
    assert await answers(port, [sent]) == wanted
    assert await answers(port, [sent[n : n + 1] for n in range(len(sent))]) == wanted
    behind = sent.index(b"\r\n\r\n") + 4
    assert await answers(port, [sent[:behind], sent[behind:]]) == wanted


async def test_the_connection_is_kept_and_requests_behind_one_another_are_answered(port: int) -> None:
    requests = [SIZED % H2C, EMPTY % H2C, CHUNKED % b"", SIZED % WEBSOCKET, EMPTY % b""]
    wanted = [b'"POST /a?b=c hello"', b'"GET /a?b=c "'] * 2 + [b'"GET /a?b=c "']
    wanted = [wanted[n] for n in (0, 1, 0, 0, 1)]
    assert await answers(port, [b"".join(requests)], len(requests)) == wanted
    assert await answers(port, requests, len(requests)) == wanted


async def test_more_offers_at_once_than_calls_can_be_nested(port: int) -> None:
    count = 1500
    assert await answers(port, [EMPTY % H2C * count], count) == [b'"GET /a?b=c "'] * count


async def test_a_tunnel_is_refused(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    async with asyncio.timeout(30):
        assert (await reader.readline()).split()[1][:1] in (b"4", b"5")
    writer.close()
