"""Between effects and httpx: the little that both clients share. No I/O of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping

import httpx

from mochi.api import DEFAULT_URL, Api, without_secrets
from mochi.calls import Calls
from mochi.downloading import Downloading
from mochi.effects import Reply, Request
from mochi.errors import Unreachable
from mochi.retry import Retry
from mochi.watching import Watching

__all__ = ["FAILURES", "Programs", "to_httpx", "to_reply", "unreachable"]

#: What httpx raises where no usable answer came.
FAILURES = (httpx.RequestError, httpx.InvalidURL)

CONNECT_SECONDS = 5.0


class Programs:
    """The programs of one client: what it was told about the API, put together once."""

    def __init__(self, url: str | None, headers: Mapping[str, str] | None, retry: Retry | None) -> None:
        address = url or os.environ.get("MOCHI_URL") or DEFAULT_URL
        self.calls = Calls(Api.at(address, headers), retry or Retry())
        self.watching = Watching(self.calls)
        self.downloading = Downloading(self.calls)


def to_httpx(request: Request, read_seconds: float) -> httpx.Request:
    """The request as httpx sends it: nothing but these headers. Raises httpx.InvalidURL."""
    timeout = httpx.Timeout(read_seconds, connect=CONNECT_SECONDS)
    return httpx.Request(
        request.method,
        request.url,
        headers=[(name.encode("ascii"), value.encode()) for name, value in request.headers.items()],
        content=request.body,
        extensions={"timeout": timeout.as_dict()},
    )


def to_reply(response: httpx.Response, body: bytes = b"") -> Reply:
    """The response as the programs read it."""
    return Reply(response.status_code, dict(response.headers), body)


def unreachable(request: Request | None, error: Exception) -> Unreachable:
    """What a failure of httpx means to a user."""
    match error:
        case httpx.ConnectTimeout():
            reason = f"no connection within {CONNECT_SECONDS:g} s"
        case httpx.TimeoutException():
            reason = "it stopped answering"
        case _:
            reason = str(error) or type(error).__name__
    where = f" from {without_secrets(request.url)}" if request else ""
    return Unreachable(f"no answer{where}: {reason}")
