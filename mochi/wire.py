"""One conversation over HTTP: the few things that the client's logic needs from httpx, and no more.

The logic (`mochi.calls`, `mochi.watching`, `mochi.downloading`) is written once, as coroutines over a
`Wire`. `AsyncClient` awaits them over an `AsyncWire`. `Client` runs the same coroutines over a `SyncWire`,
whose methods block instead of waiting, so that a coroutine over it ends without ever being suspended.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar

import httpx

from mochi.errors import Unreachable

__all__ = ["AsyncWire", "Reply", "Request", "SyncWire", "Wire", "iterate", "run", "tls", "without_secrets"]

T = TypeVar("T")

CONNECT_SECONDS = 5.0
#: What httpx raises where no usable answer came.
_FAILURES = (httpx.RequestError, httpx.InvalidURL)


@dataclass(frozen=True)
class Request:
    """An HTTP request, whole: nothing is added to it but what HTTP itself needs."""

    method: str
    url: str  # absolute
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold credentials
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """An HTTP response. Header names are in lower case; `body` is empty for `Wire.open`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Wire(Protocol):
    """Sends requests; at most one response is open. Every method but `pause` may raise Unreachable."""

    async def send(self, request: Request) -> Reply:
        """Send, and take the whole response."""

    async def open(self, request: Request, idle: float) -> Reply:
        """Send, and take the head of the response; its connection is dead after `idle` silent seconds."""

    async def read(self) -> bytes:
        """The next bytes of the open response; empty at its end."""

    async def pause(self, seconds: float) -> None:
        """Close what is open, and let time pass."""

    async def close(self) -> None:
        """Close what is open."""


class AsyncWire:
    """A Wire that waits. `timeout` is the longest silence of the server in seconds."""

    def __init__(self, http: httpx.AsyncClient, timeout: float) -> None:
        self._http = http
        self._timeout = timeout
        self._url = ""
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def send(self, request: Request) -> Reply:
        """As `Wire.send`."""
        try:
            response = await self._http.send(_to_httpx(request, self._timeout))
        except _FAILURES as error:
            raise _unreachable(request.url, error) from None
        return _reply(response, response.content)

    async def open(self, request: Request, idle: float) -> Reply:
        """As `Wire.open`."""
        await self.close()
        self._url = request.url
        try:
            self._response = await self._http.send(_to_httpx(request, idle), stream=True)
        except _FAILURES as error:
            raise _unreachable(request.url, error) from None
        self._chunks = self._response.aiter_raw()
        return _reply(self._response)

    async def read(self) -> bytes:
        """As `Wire.read`."""
        try:
            return await anext(self._chunks, b"") if self._chunks else b""
        except _FAILURES as error:
            raise _unreachable(self._url, error) from None

    async def pause(self, seconds: float) -> None:
        """As `Wire.pause`."""
        await self.close()
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """As `Wire.close`."""
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            await response.aclose()


class SyncWire:
    """A Wire that blocks: awaiting its methods never suspends, so `run` and `iterate` can drive it."""

    def __init__(self, http: httpx.Client, timeout: float) -> None:
        self._http = http
        self._timeout = timeout
        self._url = ""
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    async def send(self, request: Request) -> Reply:
        """As `Wire.send`."""
        try:
            response = self._http.send(_to_httpx(request, self._timeout))
        except _FAILURES as error:
            raise _unreachable(request.url, error) from None
        return _reply(response, response.content)

    async def open(self, request: Request, idle: float) -> Reply:
        """As `Wire.open`."""
        await self.close()
        self._url = request.url
        try:
            self._response = self._http.send(_to_httpx(request, idle), stream=True)
        except _FAILURES as error:
            raise _unreachable(request.url, error) from None
        self._chunks = self._response.iter_raw()
        return _reply(self._response)

    async def read(self) -> bytes:
        """As `Wire.read`."""
        try:
            return next(self._chunks, b"")
        except _FAILURES as error:
            raise _unreachable(self._url, error) from None

    async def pause(self, seconds: float) -> None:
        """As `Wire.pause`."""
        await self.close()
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs this: see the class

    async def close(self) -> None:
        """As `Wire.close`."""
        response, self._response, self._chunks = self._response, None, iter(())
        if response is not None:
            response.close()


@cache
def tls() -> ssl.SSLContext:
    """What every client of a process trusts: loading the certificates takes some 60 ms."""
    return httpx.create_ssl_context()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over a SyncWire, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine over a SyncWire waited for something else")


def iterate(values: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The values of an asynchronous generator over a SyncWire, without an event loop."""
    try:
        while True:
            try:
                value = run(values.__anext__())
            except StopAsyncIteration:
                return
            yield value
    finally:
        run(values.aclose())


def _to_httpx(request: Request, read_seconds: float) -> httpx.Request:
    """The request as httpx sends it: with these headers only. Raises httpx.InvalidURL."""
    timeout = httpx.Timeout(read_seconds, connect=CONNECT_SECONDS)
    return httpx.Request(
        request.method,
        request.url,
        headers=[(name.encode("ascii"), value.encode()) for name, value in request.headers.items()],
        content=request.body,
        extensions={"timeout": timeout.as_dict()},
    )


def _reply(response: httpx.Response, body: bytes = b"") -> Reply:
    return Reply(response.status_code, dict(response.headers), body)


def _unreachable(url: str, error: Exception) -> Unreachable:
    match error:
        case httpx.ConnectTimeout():
            reason = f"no connection within {CONNECT_SECONDS:g} s"
        case httpx.TimeoutException():
            reason = "it stopped answering"
        case _:
            reason = str(error) or type(error).__name__
    return Unreachable(f"no answer from {without_secrets(url)}: {reason}")


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without credentials, query and path."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"
