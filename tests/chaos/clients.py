"""Those who use the system meanwhile: clients that want jobs, one that looks at all of them, and a clock.

They are as patient as a person's script: whatever the API cannot do now is asked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import httpx

from mochi import Client, Job, Retry
from mochi.errors import BadRequest, CannotCancel, Unavailable, Unreachable
from tests.chaos.plan import Wish

__all__ = ["Log", "Observer", "Reapers", "run_client"]

T = TypeVar("T")

PATIENT = Retry(attempts=3, reconnects=1000, longest=1.0)
_PAUSE = 0.3


@dataclass
class Log:
    """What the clients were told. Each field is written by one thread at a time, under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    accepted: dict[str, str] = field(default_factory=dict)  # idempotency key → job
    refused: dict[str, str] = field(default_factory=dict)  # idempotency key → why
    cancelled: set[str] = field(default_factory=set)  # jobs whose cancellation was final
    cancels: set[str] = field(default_factory=set)  # jobs whose cancellation was asked for
    watched: dict[str, str] = field(default_factory=dict)  # job → its last status, as events said
    asked_again: int = 0  # requests that the client's own retries did not get through
    faults: list[str] = field(default_factory=list)  # broken promises

    def broken(self, what: str) -> None:
        with self.lock:
            self.faults.append(what)


def run_client(url: str, wishes: Sequence[Wish], since: float, log: Log, over: threading.Event) -> None:
    """Ask for each job at its time, until it is accepted."""
    threads: list[threading.Thread] = []
    with Client(url, retry=PATIENT, timeout=10) as client:
        for wish in wishes:
            over.wait(max(0.0, since + wish.at - time.monotonic()))  # the plan says when
            try:
                job = _submit(client, wish, log, over)
            except Exception as error:  # noqa: BLE001  # an answer that the API never gives
                log.broken(f"submitting {wish.key}: {type(error).__name__}: {error}")
                continue
            if job is None:
                continue
            for wanted, follow in ((wish.watched, _watch), (wish.cancel_after is not None, _cancel)):
                if wanted:
                    threads.append(threading.Thread(target=follow, args=(url, job.id, wish, log, over)))
                    threads[-1].start()
    for thread in threads:
        thread.join()


def _submit(client: Client, wish: Wish, log: Log, over: threading.Event) -> Job | None:
    fields: dict[str, Any] = dict(wish.fields)
    if wish.deadline_seconds is not None:
        fields["deadline"] = datetime.now(UTC) + timedelta(seconds=wish.deadline_seconds)
    job: Job | None = None
    for _ in range(2 if wish.twice else 1):
        try:
            again = _patiently(lambda: client.submit(**fields, idempotency_key=wish.key), log, over)
        except BadRequest as error:
            if wish.deadline_seconds is None or job is not None:
                raise
            with log.lock:
                log.refused[wish.key] = str(error)
            return None
        if again is None:
            return job
        if job is not None and job.id != again.id:
            log.broken(f"{wish.key} made two jobs: {job.id} and {again.id}")
        job = again
        with log.lock:
            log.accepted[wish.key] = job.id
    return job


def _cancel(url: str, job_id: str, wish: Wish, log: Log, over: threading.Event) -> None:
    over.wait(wish.cancel_after)
    with log.lock:
        log.cancels.add(job_id)
    with Client(url, retry=PATIENT, timeout=10) as client, suppress(CannotCancel):
        job = _patiently(lambda: client.cancel(job_id), log, over)
        if job is not None and job.status == "cancelled":
            with log.lock:
                log.cancelled.add(job_id)


def _watch(url: str, job_id: str, _wish: Wish, log: Log, over: threading.Event) -> None:
    with Client(url, retry=PATIENT, timeout=10) as client:
        try:
            events = _patiently(lambda: list(client.watch(job_id)), log, over)
        except Exception as error:  # noqa: BLE001  # an answer that the API never gives
            log.broken(f"watching {job_id}: {type(error).__name__}: {error}")
            return
    if not events:
        return
    ids = [int(event.id) for event in events]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        log.broken(f"the events of {job_id} do not grow: {ids}")
    with log.lock:
        log.watched[job_id] = events[-1].status


def _patiently(ask: Callable[[], T], log: Log, over: threading.Event) -> T | None:
    """Its answer; None where the run is over first."""
    while not over.is_set():
        try:
            return ask()
        except (Unavailable, Unreachable):
            with log.lock:
                log.asked_again += 1
            over.wait(_PAUSE)
    return None


class Observer:
    """Lists all jobs again and again: a version only grows, and what has ended stays as it is."""

    def __init__(self, url: str, log: Log) -> None:
        self._url = url
        self._log = log
        self.jobs: dict[str, Job] = {}
        self.rounds = 0

    @property
    def ended(self) -> int:
        """How many jobs were seen to have ended."""
        return sum(job.ended for job in list(self.jobs.values()))

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        with Client(self._url, retry=Retry(attempts=1), timeout=10) as client:
            while not over.wait(1.0):
                with suppress(Unavailable, Unreachable):
                    for job in client.list(limit=10_000):
                        self.see(job)
                    self.rounds += 1

    def see(self, job: Job) -> None:
        """Compare it with what it was."""
        before = self.jobs.get(job.id)
        self.jobs[job.id] = job
        if before is None:
            return
        if job.version < before.version:
            self._log.broken(f"{job.id}: version {before.version}, then {job.version}")
        if before.ended and (before.status, before.video) != (job.status, job.video):
            self._log.broken(f"{job.id}: {before.status} {before.video}, then {job.status} {job.video}")
        if before.version == job.version and before.status != job.status:
            self._log.broken(f"{job.id}: {before.status} and {job.status}, both of version {job.version}")


class Reapers:
    """Rounds of the reaper, more often than once a minute."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        with httpx.Client(timeout=10) as client:
            while not over.wait(1.0):
                with suppress(httpx.TransportError):
                    client.post(self._url)
