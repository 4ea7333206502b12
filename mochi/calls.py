"""Programs of one request and one answer, with retries. No I/O: see `mochi.effects`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from mochi.api import Api, decode
from mochi.effects import Answer, Effect, Emit, Pause, Program, Reply, Request, Send, reply_to
from mochi.errors import Unreachable
from mochi.models import Job, Page
from mochi.reading import Fields
from mochi.retry import RETRIED, Retry, retry_after

__all__ = ["Call", "Calls"]

T = TypeVar("T")

#: A program that hands nothing out on its way.
Call: TypeAlias = Generator[Effect, Answer, T]


@dataclass(frozen=True)
class Calls:
    """The calls of the API. All raise ApiError, Unreachable and UnexpectedAnswer."""

    api: Api
    retry: Retry

    def submit(self, prompt: str, fields: Mapping[str, object], idempotency_key: str | None) -> Call[Job]:
        """Record a job. Every attempt bears the same key, so that a repeated one makes no second job."""
        reply = yield from self.asked(self.api.submit(prompt, fields, idempotency_key))
        return Job.parse(decode(reply))

    def get(self, job_id: str) -> Call[Job]:
        """The job as it is now."""
        reply = yield from self.asked(self.api.get(job_id))
        return Job.parse(decode(reply))

    def cancel(self, job_id: str) -> Call[Job]:
        """Ask for the end of a job; the job as it is then."""
        reply = yield from self.asked(self.api.cancel(job_id))
        return Job.parse(decode(reply))

    def result_url(self, job_id: str) -> Call[str]:
        """A URL that gets the video for some time, without credentials."""
        reply = yield from self.asked(self.api.link(job_id))
        return Fields.of(decode(reply), "the answer").text("url")

    def page(
        self, status: str | None, queue: str | None, limit: int | None, cursor: str | None
    ) -> Call[Page]:
        """One page, newest first."""
        reply = yield from self.asked(self.api.page(status, queue, limit, cursor))
        return Page.parse(decode(reply))

    def list_jobs(self, status: str | None, queue: str | None, limit: int | None) -> Program[Job, None]:
        """Hand out jobs, newest first, `limit` at most, page by page."""
        left, cursor = limit, None
        while left is None or left > 0:
            page = yield from self.page(status, queue, None if left is None else min(left, 100), cursor)
            for job in page.jobs[:left]:
                yield Emit(job)
            left = None if left is None else left - len(page.jobs)
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    def asked(self, request: Request) -> Call[Reply]:
        """The answer to a request, after as many attempts as the policy allows. Raises Unreachable."""
        attempt = 1
        while True:
            try:
                reply = yield from reply_to(Send(request))
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
            yield Pause(pause)
            attempt += 1
