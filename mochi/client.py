"""The client for synchronous code: it performs the effects of the programs with `httpx.Client`.

What is asked, retried, parsed and checked is decided in `mochi.calls`, `mochi.watching` and
`mochi.downloading`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
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

__all__ = ["Client"]

T = TypeVar("T")
E = TypeVar("E")


class Client:
    """A client of the HTTP API.

    `url` is that of the API (`$MOCHI_URL`, or http://127.0.0.1:8080); `headers` go with every request to
    it, and nowhere else; `timeout` is the longest silence of the server in seconds; `transport` replaces
    the network. Every method may raise the errors of `mochi.errors`; connection errors, 429, 502, 503 and
    504 are retried first, as `retry` says.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._programs = Programs(url, headers, retry)
        self._timeout = timeout
        self._http = httpx.Client(transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def url(self) -> str:
        """Where the API is, without credentials."""
        return self._programs.calls.api.base

    def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **fields: Unpack[VideoFields]
    ) -> Job:
        """Ask for a video; returns at once, with the recorded job.

        The same `idempotency_key` and request give the same job; one is drawn where none is given, so that
        the client's own retries make one job.
        """
        return self._run(self._programs.calls.submit(prompt, fields, idempotency_key))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return self._run(self._programs.calls.get(job_id))

    def cancel(self, job_id: str) -> Job:
        """Ask for the job's end. A job that has ended stays as it is."""
        return self._run(self._programs.calls.cancel(job_id))

    def page(
        self,
        *,
        status: str | None = None,
        queue: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of jobs, newest first."""
        return self._run(self._programs.calls.page(status, queue, limit, cursor))

    def list(
        self, *, status: str | None = None, queue: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """Jobs, newest first, `limit` at most; fetches page after page as they are used."""
        return self._iterate(self._programs.calls.list_jobs(status, queue, limit))

    def watch(self, job_id: str, *, timeout: float | None = None, last_event_id: str = "") -> Iterator[Event]:
        """Each change of the job, from its beginning (or after `last_event_id`) to its end, as it happens.

        Reconnects by itself. Raises Timeout after `timeout` seconds.
        """
        return self._iterate(self._programs.watching.watch(job_id, timeout, last_event_id))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The completed job. Raises JobFailed, JobCancelled, or Timeout after `timeout` seconds."""
        return self._run(self._programs.watching.wait(job_id, timeout))

    def result_url(self, job_id: str) -> str:
        """A URL that gets the video of a completed job for some time, without credentials."""
        return self._run(self._programs.calls.result_url(job_id))

    def download(self, job_id: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Job:
        """Write the video of a completed job to `path`, whole or not at all.

        What an interrupted download leaves in `path + ".part"` is resumed. The length is checked against the
        job's, and so is the ETag where the server gives one. `progress` is called with bytes done and bytes
        in all. Raises JobFailed, JobCancelled, NotReady, DownloadFailed, and OSError of the file.
        """
        return self._run(self._programs.downloading.download(job_id, Path(path), progress))

    def _run(self, program: Program[Any, T]) -> T:
        with closing(program), _Wire(self._http, self._timeout) as wire:
            step = advance(program)
            while not isinstance(step, Done):
                step = advance(program, None if isinstance(step, Emit) else wire.perform(step))
            return step.value

    def _iterate(self, program: Program[E, Any]) -> Iterator[E]:
        with closing(program), _Wire(self._http, self._timeout) as wire:
            step = advance(program)
            while not isinstance(step, Done):
                if isinstance(step, Emit):
                    yield step.value
                    step = advance(program)
                else:
                    step = advance(program, wire.perform(step))


class _Wire:
    """Performs the effects of one program; holds the one response that may be open."""

    def __init__(self, http: httpx.Client, timeout: float) -> None:
        self._http = http
        self._timeout = timeout
        self._opened: Request | None = None
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def perform(self, effect: Effect) -> Answer:
        try:
            match effect:
                case Send(request):
                    response = self._http.send(to_httpx(request, self._timeout))
                    return to_reply(response, response.content)
                case Open(request, idle):
                    self._close()
                    self._opened = request
                    self._response = self._http.send(to_httpx(request, idle), stream=True)
                    self._chunks = self._response.iter_raw()
                    return to_reply(self._response)
                case Read():
                    return next(self._chunks, b"")
                case Pause(seconds):
                    self._close()
                    time.sleep(seconds)
                    return None
        except FAILURES as error:
            return unreachable(effect.request if isinstance(effect, Send) else self._opened, error)

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
