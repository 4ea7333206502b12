"""Sending events to the Broker: over HTTP, and an in-memory twin for tests.

Knows nothing of what is to be sent, nor whether it will be tried again.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import Protocol

import httpx

from eventing.codec import encode
from eventing.events import Event
from jobs.errors import ConfigurationError, PublishFailed

__all__ = ["HttpPublisher", "MemoryPublisher", "Publisher"]

#: How a kept connection shows that the other side had closed it before our request came.
_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Publisher(Protocol):
    """Hands events to the Broker."""

    async def publish(self, event: Event) -> None:
        """Return once the Broker has taken the event.

        Raises PublishFailed where it did not, or where that is not known; InvalidEvent for what is none.
        """

    async def aclose(self) -> None:
        """Close the connections. Nothing can be published after it. A second call does nothing."""


class HttpPublisher:
    """POSTs events in binary mode to one URL, over connections that are kept.

    For use on one event loop. Redirects are not followed, and proxies of the environment not used.
    """

    def __init__(self, url: str, timeout: float = 5.0, connections: int = 32) -> None:
        """Make a publisher; nothing is sent before the first event.

        Args:
            url: Of the Broker. It may hold a user and a password, which appear in no message.
            timeout: Seconds for one event, all in all. Short: a Broker only stores what it takes, and
                whatever it does not take is published again from the record.
            connections: The most that are open at once; further events wait for one.

        Raises:
            ConfigurationError: the URL is none.
        """
        self._url = _url(url)
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            verify=_trust(self._url.scheme),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            timeout=timeout,
            trust_env=False,
        )

    async def publish(self, event: Event) -> None:
        """POST the event. Raises PublishFailed, InvalidEvent."""
        headers, body = encode(event)
        try:
            async with asyncio.timeout(self._timeout):
                status = await self._post(headers, body)
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed(f"gave no answer within {self._timeout:g} s") from None
        except httpx.ConnectError:
            raise self._failed("cannot be connected to") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._failed(f"broke off the connection ({type(error).__name__})") from None
        if not HTTPStatus(200) <= status < HTTPStatus(300):
            raise self._failed(f"answered {status}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, headers: dict[str, str], body: bytes) -> int:
        if self._client.is_closed:
            raise PublishFailed("the publisher is closed")
        try:
            return await self._post_once(headers, body)
        except _STALE:
            # Most likely a kept connection that the Broker has closed meanwhile. Should the event have
            # arrived all the same, its id tells that the second one is the same.
            return await self._post_once(headers, body)

    async def _post_once(self, headers: dict[str, str], body: bytes) -> int:
        answer = await self._client.post(self._url, headers=headers, content=body, follow_redirects=False)
        return answer.status_code

    def _failed(self, what: str) -> PublishFailed:
        # Without user, password and query.
        return PublishFailed(f"the Broker at {self._url.host}{self._url.path} {what}")


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        if url.scheme in ("http", "https") and url.host:
            return url
    except httpx.InvalidURL:
        pass
    # The text may hold a password: it is not repeated.
    raise ConfigurationError("the Broker's URL is not valid; one like http://host:port/path is")


def _trust(scheme: str) -> ssl.SSLContext:
    # Reading the system's certificates takes 0.1 s: not for a URL that needs none.
    return ssl.create_default_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class MemoryPublisher:
    """Keeps what is published in `events`, in order. While `failure` is set, takes nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failure: str | None = None
        self._closed = False

    async def publish(self, event: Event) -> None:
        """Keep the event. Raises PublishFailed while `failure` is set; InvalidEvent as over HTTP."""
        encode(event)
        if self._closed:
            raise PublishFailed("the publisher is closed")
        if self.failure is not None:
            raise PublishFailed(self.failure)
        self.events.append(event)

    async def aclose(self) -> None:
        """Take nothing any more."""
        self._closed = True
