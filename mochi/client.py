"""The client for synchronous code: each method runs one of the client's coroutines to its end.

What is asked, retried, parsed and checked is decided in `mochi.calls`, `mochi.watching` and
`mochi.downloading`; how a coroutine runs without an event loop, `mochi.wire` says.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import closing
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
from mochi.wire import SyncWire, iterate, run, tls

__all__ = ["Client"]

T = TypeVar("T")


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
        self._api = Api.at(url or os.environ.get("MOCHI_URL") or DEFAULT_URL, headers)
        self._retry = retry or Retry()
        self._timeout = timeout
        self._http = httpx.Client(transport=transport, verify=tls())

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
        return self._api.base

    def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **fields: Unpack[VideoFields]
    ) -> Job:
        """Ask for a video; returns at once, with the recorded job.

        The same `idempotency_key` and request give the same job; one is drawn where none is given, so that
        the client's own retries make one job.
        """
        return self._run(lambda calls: calls.submit(prompt, fields, idempotency_key))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return self._run(lambda calls: calls.get(job_id))

    def cancel(self, job_id: str) -> Job:
        """Ask for the job's end. Raises CannotCancel for one that has completed or failed."""
        return self._run(lambda calls: calls.cancel(job_id))

    def page(
        self,
        *,
        status: str | None = None,
        queue: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of jobs, newest first."""
        return self._run(lambda calls: calls.page(status, queue, limit, cursor))

    def list(
        self, *, status: str | None = None, queue: str | None = None, limit: int | None = None
    ) -> Generator[Job, None, None]:
        """Jobs, newest first, `limit` at most; fetches page after page as they are used."""
        return self._iterate(lambda calls: calls.list_jobs(status, queue, limit))

    def watch(
        self, job_id: str, *, timeout: float | None = None, last_event_id: str = ""
    ) -> Generator[Event, None, None]:
        """Each change of the job, from its beginning (or after `last_event_id`) to its end, as it happens.

        Reconnects by itself. Raises Timeout after `timeout` seconds.
        """
        return self._iterate(lambda calls: watch(calls, job_id, timeout, last_event_id))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The completed job. Raises JobFailed, JobCancelled, or Timeout after `timeout` seconds."""
        return self._run(lambda calls: wait(calls, job_id, timeout))

    def result_url(self, job_id: str) -> str:
        """A URL that gets the video of a completed job for some time, without credentials."""
        return self._run(lambda calls: calls.result_url(job_id))

    def download(self, job_id: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Job:
        """Write the video of a completed job to `path`, whole or not at all.

        What an interrupted download leaves in `path + ".part"` is resumed. The length is checked against the
        job's, and so is the ETag, also as the MD5 that it mostly is. `progress` is called with bytes done and
        bytes in all. Raises JobFailed, JobCancelled, NotReady, DownloadFailed, and OSError of the file.
        """
        return self._run(lambda calls: download(calls, job_id, Path(path), progress))

    def _run(self, operation: Callable[[Calls], Coroutine[Any, Any, T]]) -> T:
        wire = SyncWire(self._http, self._timeout)
        try:
            return run(operation(Calls(self._api, self._retry, wire)))
        finally:
            run(wire.close())

    def _iterate(self, operation: Callable[[Calls], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        wire = SyncWire(self._http, self._timeout)
        try:
            with closing(iterate(operation(Calls(self._api, self._retry, wire)))) as values:
                yield from values
        finally:
            run(wire.close())
