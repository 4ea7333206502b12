"""Following a job from the command line: to its end, to its file, and to what is printed about it."""

from __future__ import annotations

import time
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, NoReturn

import typer

from mochi.errors import Timeout, Unavailable, Unreachable
from mochi.exit_codes import ExitCode
from mochi.live import View, view
from mochi.models import Event, Job, Status
from mochi.terminal import clean, describe, print_json, tell

if TYPE_CHECKING:
    from mochi.client import Client

__all__ = ["interrupted", "print_events", "see_through"]

#: The longest time in seconds between two looks at the queue position, which no event tells.
LOOK = 2.0


def see_through(
    client: Client, job_id: str, output: Path | None, timeout: float | None, as_json: bool
) -> None:
    """Follow a job, fetch its video if one is wanted, print how it ended.

    Raises JobFailed, JobCancelled, Timeout after `timeout` seconds, and what the client raises.
    """
    try:
        with view() as live:
            job = _end(client, job_id, timeout, live)
            if output is not None and job.video is not None:
                client.download(job_id, output, progress=live.downloading)
    except KeyboardInterrupt:
        _leave(job_id)
    if as_json:
        print_json({**job.raw, "file": str(output)} if output and job.video else job.raw)
    elif job.video:
        way = f": {output}" if output else f"; to fetch the video: mochi download {job.id}"
        tell(clean(describe(job) + way))
    _finished(job)


def print_events(client: Client, job_id: str, timeout: float | None) -> None:
    """Print each event of a job as JSON on a line of its own. Raises as `see_through`."""
    last: Event | None = None
    try:
        for last in client.watch(job_id, timeout=timeout):
            print_json(last.raw)
        job = last.job if last and last.job else client.get(job_id)
    except KeyboardInterrupt:
        _leave(job_id)
    _finished(job)


def interrupted(advice: str) -> NoReturn:
    """End the command as Ctrl-C does, with a word on how to go on."""
    tell(f"interrupted: {clean(advice)}")
    raise typer.Exit(ExitCode.INTERRUPTED) from None


def _leave(job_id: str) -> NoReturn:
    interrupted(f"job {job_id} goes on; to follow it: mochi watch {job_id}; to end it: mochi cancel {job_id}")


def _finished(job: Job) -> None:
    from mochi.watching import finished

    finished(job)


def _end(client: Client, job_id: str, timeout: float | None, live: View) -> Job:
    """The job, ended, however it ended."""
    started = time.monotonic()
    _wait_in_queue(client, job_id, live, timeout)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
    last: Event | None = None
    try:
        for last in client.watch(job_id, timeout=left):
            live.changed(last)
    except Timeout:
        raise Timeout(job_id, timeout or 0.0) from None
    return last.job if last and last.job else client.get(job_id)


def _get(client: Client, job_id: str, seconds: float | None) -> Job:
    """The job; raises Empty where a server that is silent or away keeps the client for longer than that."""
    if seconds is None:
        return client.get(job_id)
    answers: Queue[Job | Exception] = Queue()

    def ask() -> None:
        try:
            answers.put(client.get(job_id))
        except Exception as error:  # noqa: BLE001  # raised below
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    answer = answers.get(timeout=max(0.0, seconds))
    if isinstance(answer, Exception):
        raise answer
    return answer


def _wait_in_queue(client: Client, job_id: str, live: View, timeout: float | None) -> None:
    """Show the position until the job leaves its queue, or until the server does not answer.

    The event stream tells afterwards whatever this misses, and is more patient with a server that is away.
    """
    started, pause = time.monotonic(), LOOK / 8
    while True:
        left = None if timeout is None else timeout - (time.monotonic() - started)
        try:
            job = _get(client, job_id, left)
        except (Unavailable, Unreachable):
            return
        except Empty:
            raise Timeout(job_id, timeout or 0.0) from None
        if job.status is not Status.PENDING or job.phase not in (None, "waiting"):
            return
        live.waiting(job)
        if timeout is not None:
            left = timeout - (time.monotonic() - started)
            if left <= 0:
                raise Timeout(job_id, timeout)
            pause = min(pause, left)
        time.sleep(pause)
        pause = min(2 * pause, LOOK)
