"""The client for asyncio: each method awaits one of the client's coroutines.

Its methods are those of `mochi.Client`, whose documentation holds for them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from mochi.api import DEFAULT_URL, Api, VideoFields
from mochi.calls import Calls
from mochi.downloading import Progress, download
from mochi.models import Event, Job, Page
from mochi.retry import Retry
from mochi.watching import wait, watch
from mochi.wire import AsyncWire, tls

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """`mochi.Client` for asyncio; the arguments are the same."""

    def __init__(
        self,
        url: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._api = Api.at(url or os.environ.get("MOCHI_URL") or DEFAULT_URL, headers)
        self._retry = retry or Retry()
        self._timeout = timeout
        self._http = httpx.AsyncClient(transport=transport, verify=tls())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def url(self) -> str:
        """Where the API is, without credentials."""
        return self._api.base

    async def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **fields: Unpack[VideoFields]
    ) -> Job:
        """Ask for a video; returns at once, with the recorded job."""
        return await self._run(lambda calls: calls.submit(prompt, fields, idempotency_key))

    async def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return await self._run(lambda calls: calls.get(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Ask for the job's end."""
        return await self._run(lambda calls: calls.cancel(job_id))

    async def page(
        self,
        *,
        status: str | None = None,
        queue: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of jobs, newest first."""
        return await self._run(lambda calls: calls.page(status, queue, limit, cursor))

    def list(
        self, *, status: str | None = None, queue: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[Job, None]:
        """Jobs, newest first, `limit` at most."""
        return self._iterate(lambda calls: calls.list_jobs(status, queue, limit))

    def watch(
        self, job_id: str, *, timeout: float | None = None, last_event_id: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Each change of the job to its end, as it happens."""
        return self._iterate(lambda calls: watch(calls, job_id, timeout, last_event_id))

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - as Client.wait
        """The job once it is completed."""
        return await self._run(lambda calls: wait(calls, job_id, timeout))

    async def result_url(self, job_id: str) -> str:
        """A URL that gets the video of a completed job for some time."""
        return await self._run(lambda calls: calls.result_url(job_id))

    async def download(
        self, job_id: str, path: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> Job:
        """Write the video of a completed job to `path`, whole or not at all (in short, blocking writes)."""
        return await self._run(lambda calls: download(calls, job_id, Path(path), progress))

    async def _run(self, operation: Callable[[Calls], Coroutine[Any, Any, T]]) -> T:
        wire = AsyncWire(self._http, self._timeout)
        try:
            return await operation(Calls(self._api, self._retry, wire))
        finally:
            await wire.close()

    async def _iterate(
        self, operation: Callable[[Calls], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        wire = AsyncWire(self._http, self._timeout)
        try:
            async with aclosing(operation(Calls(self._api, self._retry, wire))) as values:
                async for value in values:
                    yield value
        finally:
            await wire.close()
