"""The platform's own share of a job, on a model that does nothing.

One job after the other on the idle system. Times of the server are Redis' clock, which on one machine is
that of the client; the end of the work is the line that the predictor logs when the result is recorded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from bench.table import Row, milliseconds
from mochi import Client, Job

__all__ = ["measure"]

_WARM_UP, _COUNT = 20, 200


def measure(url: str, predictor_log: Path) -> Iterator[Row]:
    """From accept to start, from end to visible, and all of it."""
    to_start: list[float] = []
    ended: dict[str, float] = {}
    totals: list[float] = []
    with Client(url) as client:
        for number in range(_WARM_UP + _COUNT):
            sent = time.time()
            accepted = client.submit("a red circle", num_frames=7, num_inference_steps=2)
            job = _end(client, accepted)
            seen = time.time()
            if number >= _WARM_UP and job.started_at is not None and job.created_at is not None:
                to_start.append((job.started_at - job.created_at).total_seconds())
                totals.append(seen - sent)
                ended[job.id] = seen
    recorded = _recorded(predictor_log)
    to_visible = [seen - recorded[job_id] for job_id, seen in ended.items()]
    yield from _rows("accept to start of work", to_start)
    yield from _rows("end of work to `completed` seen", to_visible)
    yield from _rows("a whole job on a model that does nothing", totals, aim="p50 below 50 ms")


def _end(client: Client, job: Job) -> Job:
    for event in client.watch(job.id):
        if event.job is not None:
            return event.job
    return client.get(job.id)


def _recorded(log: Path) -> dict[str, float]:
    """When the result of each job was recorded, in seconds since the epoch."""
    found: dict[str, float] = {}
    for text in log.read_text("utf-8").splitlines():
        if not text.startswith("{"):
            continue
        line = json.loads(text)
        if line.get("event") == "recorded":
            found[line["job"]] = datetime.fromisoformat(line["timestamp"]).timestamp()
    return found


def _rows(what: str, seconds: Sequence[float], aim: str = "") -> Iterator[Row]:
    ordered = sorted(seconds)
    yield Row(what, "p50", milliseconds(ordered[len(ordered) // 2]), aim)
    yield Row(what, "p99", milliseconds(ordered[int(len(ordered) * 0.99)]))
