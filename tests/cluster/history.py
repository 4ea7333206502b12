"""What a job's history tells: where it was worked on, which steps were done twice, what a cold start took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from mochi import Attempt, Event, Job
from tests.cluster.kubectl import Resource

__all__ = ["cold_start", "described", "overlaps", "pace", "pods_of", "seconds", "steps_twice"]


def pod_of(attempt: Attempt) -> str:
    """The pod that worked: a slot is named by its host and its process."""
    return attempt.slot.rpartition(":")[0]


def pods_of(job: Job) -> Sequence[str]:
    """The pods that worked on a job, in order, each one once."""
    return list(dict.fromkeys(pod_of(attempt) for attempt in job.attempts))


def seconds(attempt: Attempt) -> float:
    """How long an attempt took that has ended; of a lost one, to the end of its lease."""
    assert attempt.started_at is not None
    assert attempt.ended_at is not None
    return (attempt.ended_at - attempt.started_at).total_seconds()


def steps_twice(job: Job) -> int:
    """Steps that had been done before and were done again, as far as the record knows of them.

    Of an attempt that was lost it knows what that had reported: a few more may have been done.
    """
    done = sum(attempt.last_step - attempt.first_step for attempt in job.attempts)
    return done - max(attempt.last_step for attempt in job.attempts)


def pace(job: Job) -> float:
    """Steps a second of denoising, of a job whose one attempt did them all."""
    times = {milestone.phase: milestone.at for milestone in job.milestones}
    began, ended = times["denoising"], times["decoding"]
    assert began is not None
    assert ended is not None
    return job.steps / (ended - began).total_seconds()


def overlaps(jobs: Iterable[Job]) -> Sequence[str]:
    """Pods that worked on two jobs at once."""
    by_pod: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for job in jobs:
        for attempt in job.attempts:
            assert attempt.started_at is not None
            assert attempt.ended_at is not None
            by_pod[pod_of(attempt)].append((attempt.started_at, attempt.ended_at, job.id))
    return [
        f"{pod}: {first[2]} until {first[1]:%T.%f}, {second[2]} from {second[0]:%T.%f}"
        for pod, turns in by_pod.items()
        for first, second in pairwise(sorted(turns))
        if second[0] < first[1]
    ]


def described(job: Job) -> str:
    """A job's attempts in a line each."""
    lines = [f"{job.status} after {job.attempt} attempts, {steps_twice(job)} of {job.steps} steps done twice"]
    for attempt in job.attempts:
        where = f"steps {attempt.first_step} to {attempt.last_step} on {pod_of(attempt)}"
        took = f" in {seconds(attempt):.1f} s" if attempt.ended_at else ""
        lines.append(f"  {attempt.attempt}: {where}{took}, {attempt.ended or 'at work'}")
    return "\n".join(lines)


def cold_start(job: Job, pod: Resource, loaded: str, first_step: Event) -> Iterator[str]:
    """From the submission to the first step: when each thing happened, and how long after the one before.

    `loaded`: when the predictor said that its model was. Kubernetes tells whole seconds.
    """
    phases = {milestone.phase: milestone.at for milestone in job.milestones}
    conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
    containers = {c["name"]: c["state"]["running"]["startedAt"] for c in pod["status"]["containerStatuses"]}
    moments = [
        ("recorded", job.created_at),
        ("admitted", phases["starting"]),
        ("pod made", _time(pod["metadata"]["creationTimestamp"])),
        ("pod scheduled", _time(conditions["PodScheduled"])),
        ("container started", _time(containers["kserve-container"])),
        ("model loaded", _time(loaded)),
        ("pod ready", _time(conditions["Ready"])),
        ("claimed", job.attempts[0].started_at),
        ("denoising", phases["denoising"]),
        ("first step done", first_step.at),
    ]
    before = job.created_at
    for name, moment in moments:
        assert moment is not None
        assert before is not None
        assert job.created_at is not None
        since, after = moment - job.created_at, moment - before
        yield f"  {name:<18} {since.total_seconds():7.2f} s  {after.total_seconds():+.2f} s"
        before = moment


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
