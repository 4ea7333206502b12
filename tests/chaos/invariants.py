"""What must be true once the faults are over and every job has ended; looked at from outside."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set

import redis

from mochi import Job
from tests.chaos.clients import Log
from tests.chaos.objects import wrong_objects
from tests.chaos.plan import Plan
from tests.chaos.rig import ENDS, Rig

__all__ = ["Books", "books", "broken", "counted", "ends", "lost", "wrong_ends", "wrong_events"]

#: Reasons to fail that such a run gives: a deadline of its client's, or three attempts cut off in a row.
_ALLOWED = frozenset({"deadline_exceeded", "attempts_exhausted"})


class Books:
    """What Redis holds."""

    def __init__(self, client: redis.Redis) -> None:
        now = _number(client.time()[0]) * 1_000_000  # type: ignore[index]  # it is no Awaitable
        self.jobs = {key.removeprefix("job:") for key in client.scan_iter("job:*", 1000)}
        self.left = {
            key: size
            for key in client.scan_iter("*", 1000)
            if key.split(":")[0] in ("credits", "backlog", "delayed", "outbox", "deadlines")
            and (size := client.zcard(key))
        } | {key: size for key in client.scan_iter("broker:events:*", 1000) if (size := client.xlen(key))}
        paused_until = _number(client.hget("pool:mochi-1", "paused_until"))
        self.paused_seconds = max(0, paused_until - now) / 1e6

    @property
    def closed(self) -> bool:
        """Whether nothing is under way."""
        return not self.left and not self.paused_seconds


def _number(text: object) -> int:
    return int(str(text)) if text else 0


def books(rig: Rig) -> Books:
    """What Redis holds now."""
    with redis.Redis.from_url(rig.settings.redis_url, decode_responses=True) as client:
        return Books(client)


def ends(rig: Rig) -> Mapping[str, list[str]]:
    """The terminal events of each job that the recorder saw: each one's type and data, as one text."""
    found: dict[str, list[str]] = defaultdict(list)
    for request in rig.recorder.received(ENDS):
        data = json.dumps(json.loads(request.body), sort_keys=True)
        found[request.headers["ce-subject"]].append(f"{request.headers['ce-type']} {data}")
    return found


def broken(rig: Rig, plan: Plan, log: Log, jobs: Mapping[str, Job], kept: Books) -> list[str]:
    """Every promise that was not kept, in a line each."""
    return [
        *log.faults,
        *lost(plan, log, jobs, kept.jobs),
        *wrong_ends(plan, log, jobs),
        *wrong_events(jobs, ends(rig)),
        *wrong_objects(rig, jobs),
        *([f"Redis holds {kept.left}"] if kept.left else []),
        *([f"the pool is paused for {kept.paused_seconds:.0f} s"] if kept.paused_seconds else []),
    ]


def lost(plan: Plan, log: Log, jobs: Mapping[str, Job], recorded: Set[str]) -> Iterator[str]:
    """Jobs that were accepted and are not there, or there and never accepted (`recorded`: in Redis)."""
    for wish in plan.wishes:
        job_id = log.accepted.get(wish.key)
        if job_id is None and wish.key not in log.refused:
            yield f"{wish.key} was never accepted"
        elif job_id is not None and job_id not in jobs:
            yield f"{wish.key}: job {job_id} was accepted and is lost"
    accepted = set(log.accepted.values())
    if len(accepted) != len(log.accepted):
        yield "two idempotency keys made one job"
    if extra := recorded - accepted:
        yield f"jobs that nobody was told of, or made twice: {sorted(extra)}"


def wrong_ends(plan: Plan, log: Log, jobs: Mapping[str, Job]) -> Iterator[str]:
    """Jobs that have not ended, or not as they may."""
    wishes = {log.accepted[w.key]: w for w in plan.wishes if w.key in log.accepted}
    for job in jobs.values():
        wish = wishes.get(job.id)
        if not job.ended:
            yield f"{job.id} has not ended: {job.status}, {job.phase}, attempt {job.attempt}"
        if job.status == "cancelled" and job.id not in log.cancels:
            yield f"{job.id} is cancelled, and nobody wanted it"
        if job.id in log.cancelled and job.status != "cancelled":
            yield f"{job.id} was cancelled, and is {job.status}"
        if job.status == "failed":
            code = job.error.code if job.error else "no reason"
            without_deadline = wish is not None and wish.deadline_seconds is None
            if code not in _ALLOWED or (code == "deadline_exceeded" and without_deadline):
                yield f"{job.id} failed: {job.error}"
        if (job.status == "completed") != (job.video is not None):
            yield f"{job.id} is {job.status}, with the video {job.video}"
        if (seen := log.watched.get(job.id)) is not None and seen != job.status:
            yield f"{job.id} is {job.status}, and its events ended with {seen}"


def wrong_events(jobs: Mapping[str, Job], recorded: Mapping[str, list[str]]) -> Iterator[str]:
    """Jobs whose end no event told, or more than one."""
    for job in jobs.values():
        different = set(recorded.get(job.id, ()))
        if not different:
            yield f"{job.id} is {job.status}, and no event said so"
        elif len(different) > 1:
            yield f"{job.id}: different terminal events: {sorted(different)}"
        elif not next(iter(different)).startswith(f"dev.mochi.generation.{job.status} "):
            yield f"{job.id} is {job.status}, and its event is {different}"
        elif job.video is not None and job.video.etag not in next(iter(different)):
            yield f"{job.id}: its video is {job.video}, and its event says {different}"
    if strangers := recorded.keys() - jobs.keys():
        yield f"events about jobs that are not there: {sorted(strangers)}"


def counted(jobs: Mapping[str, Job]) -> Counter[str]:
    """How many jobs ended how."""
    return Counter(job.error.code if job.error else str(job.status) for job in jobs.values())
