"""The client for asyncio: it performs the effects of the programs with `httpx.AsyncClient`.

Its methods are those of `mochi.Client`, whose documentation holds for them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from mochi.api import VideoFields
from mochi.downloading import Progress
from mochi.effects import Answer, Done, Effect, Emit, Open, Pause, Program, Read, Request, Send, advance
from mochi.models import Event, Job, Page
from mochi.retry import Retry
from mochi.transport import FAILURES, Programs, to_httpx, to_reply, unreachable

__all__ = ["AsyncClient"]

T = TypeVar("T")
E = TypeVar("E")


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
        self._programs = Programs(url, headers, retry)
        self._timeout = timeout
        self._http = httpx.AsyncClient(transport=transport)

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
        return self._programs.calls.api.base

    async def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **fields: Unpack[VideoFields]
    ) -> Job:
        """Ask for a video; returns at once, with the recorded job."""
        return await self._run(self._programs.calls.submit(prompt, fields, idempotency_key))

    async def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return await self._run(self._programs.calls.get(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Ask for the job's end."""
        return await self._run(self._programs.calls.cancel(job_id))

    async def page(
        self,
        *,
        status: str | None = None,
        queue: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of jobs, newest first."""
        return await self._run(self._programs.calls.page(status, queue, limit, cursor))

    def list(
        self, *, status: str | None = None, queue: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Job]:
        """Jobs, newest first, `limit` at most."""
        return self._iterate(self._programs.calls.list_jobs(status, queue, limit))

    def watch(
        self, job_id: str, *, timeout: float | None = None, last_event_id: str = ""
    ) -> AsyncIterator[Event]:
        """Each change of the job to its end, as it happens."""
        return self._iterate(self._programs.watching.watch(job_id, timeout, last_event_id))

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - as Client.wait
        """The job once it is completed."""
        return await self._run(self._programs.watching.wait(job_id, timeout))

    async def result_url(self, job_id: str) -> str:
        """A URL that gets the video of a completed job for some time."""
        return await self._run(self._programs.calls.result_url(job_id))

    async def download(
        self, job_id: str, path: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> Job:
        """Write the video of a completed job to `path`, whole or not at all (in short, blocking writes)."""
        return await self._run(self._programs.downloading.download(job_id, Path(path), progress))

    async def _run(self, program: Program[Any, T]) -> T:
        with closing(program):
            async with aclosing(_Wire(self._http, self._timeout)) as wire:
                step = advance(program)
                while not isinstance(step, Done):
                    step = advance(program, None if isinstance(step, Emit) else await wire.perform(step))
                return step.value

    async def _iterate(self, program: Program[E, Any]) -> AsyncIterator[E]:
        with closing(program):
            async with aclosing(_Wire(self._http, self._timeout)) as wire:
                step = advance(program)
                while not isinstance(step, Done):
                    if isinstance(step, Emit):
                        yield step.value
                        step = advance(program)
                    else:
                        step = advance(program, await wire.perform(step))


class _Wire:
    """Performs the effects of one program; holds the one response that may be open."""

    def __init__(self, http: httpx.AsyncClient, timeout: float) -> None:
        self._http = http
        self._timeout = timeout
        self._opened: Request | None = None
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def perform(self, effect: Effect) -> Answer:
        try:
            match effect:
                case Send(request):
                    response = await self._http.send(to_httpx(request, self._timeout))
                    return to_reply(response, response.content)
                case Open(request, idle):
                    await self.aclose()
                    self._opened = request
                    self._response = await self._http.send(to_httpx(request, idle), stream=True)
                    self._chunks = self._response.aiter_raw()
                    return to_reply(self._response)
                case Read():
                    return await anext(self._chunks, b"") if self._chunks else b""
                case Pause(seconds):
                    await self.aclose()
                    await asyncio.sleep(seconds)
                    return None
        except FAILURES as error:
            return unreachable(effect.request if isinstance(effect, Send) else self._opened, error)

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None
