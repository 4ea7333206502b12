"""Following a job from the command line, to its end and to its file, with a view of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mochi.errors import Timeout, Unavailable, Unreachable
from mochi.live import View
from mochi.models import Event, Job, Status

if TYPE_CHECKING:
    from mochi.client import Client

__all__ = ["follow"]

#: The longest time in seconds between two looks at the queue position, which no event tells.
LOOK = 2.0


def follow(
    client: Client,
    job_id: str,
    view: View,
    timeout: float | None,
    on_event: Callable[[Event], None] | None = None,
) -> Job:
    """The job, ended, however it ended. Raises Timeout after `timeout` seconds.

    `on_event` gets each event as it happens; then the queue position is not looked at.
    """
    started = time.monotonic()
    if on_event is None:
        _wait_in_queue(client, job_id, view, timeout)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
    last: Event | None = None
    try:
        for last in client.watch(job_id, timeout=left):
            view.changed(last)
            if on_event is not None:
                on_event(last)
    except Timeout:
        raise Timeout(job_id, timeout or 0.0) from None
    return last.job if last and last.job else client.get(job_id)


def _wait_in_queue(client: Client, job_id: str, view: View, timeout: float | None) -> None:
    """Show the position until the job leaves its queue, or until the server does not answer.

    The event stream tells afterwards whatever this misses, and is more patient with a server that is away.
    """
    started, pause = time.monotonic(), LOOK / 8
    while True:
        try:
            job = client.get(job_id)
        except (Unavailable, Unreachable):
            return
        if job.status is not Status.PENDING or job.phase not in (None, "waiting"):
            return
        view.waiting(job)
        if timeout is not None:
            left = timeout - (time.monotonic() - started)
            if left <= 0:
                raise Timeout(job_id, timeout)
            pause = min(pause, left)
        time.sleep(pause)
        pause = min(2 * pause, LOOK)
