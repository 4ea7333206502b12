"""The calls of one request and one answer, with retries. Written over a Wire: see `mochi.wire`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from mochi.api import Api, decode
from mochi.errors import Unreachable
from mochi.models import Job, Page
from mochi.reading import Fields
from mochi.retry import RETRIED, Retry, retry_after
from mochi.wire import Reply, Request, Wire

__all__ = ["Calls"]

#: Jobs of one page of `list_jobs`.
_PAGE = 100


@dataclass(frozen=True)
class Calls:
    """The calls of the API over one wire. All raise ApiError, Unreachable and UnexpectedAnswer."""

    api: Api
    retry: Retry
    wire: Wire

    async def submit(self, prompt: str, fields: Mapping[str, object], idempotency_key: str | None) -> Job:
        """Record a job. Every attempt bears the same key, so that a repeated one makes no second job."""
        return Job.parse(decode(await self._answer(self.api.submit(prompt, fields, idempotency_key))))

    async def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return Job.parse(decode(await self._answer(self.api.get(job_id))))

    async def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; the job as it is then. Raises CannotCancel."""
        return Job.parse(decode(await self._answer(self.api.cancel(job_id))))

    async def result_url(self, job_id: str) -> str:
        """A URL that gets the video for some time, without credentials. Raises NotReady."""
        reply = await self._answer(self.api.link(job_id))
        return Fields.of(decode(reply), "the answer").text("url")

    async def page(
        self, status: str | None, queue: str | None, limit: int | None, cursor: str | None
    ) -> Page:
        """One page, newest first."""
        return Page.parse(decode(await self._answer(self.api.page(status, queue, limit, cursor))))

    async def list_jobs(
        self, status: str | None, queue: str | None, limit: int | None
    ) -> AsyncGenerator[Job, None]:
        """Jobs, newest first, `limit` at most, page by page."""
        left, cursor = limit, None
        while left is None or left > 0:
            page = await self.page(status, queue, None if left is None else min(left, _PAGE), cursor)
            for job in page.jobs[:left]:
                yield job
            left = None if left is None else left - len(page.jobs)
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    async def _answer(self, request: Request) -> Reply:
        """The answer to a request, after as many attempts as the policy allows. Raises Unreachable."""
        attempt = 1
        while True:
            try:
                reply = await self.wire.send(request)
            except Unreachable:
                if attempt >= self.retry.attempts:
                    raise
                pause = self.retry.pause_after(attempt)
            else:
                asked = retry_after(reply.headers)
                too_long = asked is not None and asked > self.retry.longest
                if reply.status not in RETRIED or attempt >= self.retry.attempts or too_long:
                    return reply
                pause = self.retry.pause_after(attempt, asked)
            await self.wire.pause(pause)
            attempt += 1
