"""Two pods for two jobs, one job a pod at a time, and every queue in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest

from mochi import CannotCancel, Client
from tests.cluster.history import overlaps, pods_of
from tests.cluster.system import System, step_of
from tests.cluster.videos import LONG
from tests.cluster.waiting import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("paced")]

QUEUES = ("short-low", "long-high")
#: Three seconds' work: a job that is the first one of a new pod takes longer, but not as long as two.
STEPS = 90


def test_two_jobs_are_worked_on_side_by_side(client: Client, system: System) -> None:
    # Two jobs that wait start two pods. The next two are what is looked at: a pod's start may take longer
    # than a job on a machine that does much else.
    of_now = f"{system.revision()}-"  # an idle pod of the revision before may take a while to go

    def count(pods: Sequence[str]) -> int:
        return sum(pod.startswith(of_now) for pod in pods)

    first = [client.submit(**{**LONG, "queue": queue}) for queue in QUEUES]
    until("two pods are ready", lambda: count(system.ready()) == 2, 240)
    for job in first:
        with suppress(CannotCancel):
            client.cancel(job.id)
    jobs = [client.submit(**{**LONG, "queue": queue}) for queue in QUEUES]
    for job in jobs:
        step_of(client, job, 1)
    at_work = [client.get(job.id) for job in jobs]
    assert [job.phase for job in at_work] == ["denoising", "denoising"]
    assert len({pod for job in at_work for pod in pods_of(job)}) == 2
    assert count(system.living()) == 2
    for job in jobs:
        client.cancel(job.id)
    assert [list(client.watch(job.id, timeout=60))[-1].status for job in jobs] == ["cancelled"] * 2
    assert overlaps(client.get(job.id) for job in jobs) == []


def test_ten_jobs_complete_in_the_order_of_their_queues(
    client: Client, system: System, say: Callable[[str], None]
) -> None:
    asked = {**LONG, "num_inference_steps": STEPS}
    wanted = [client.submit(**{**asked, "prompt": f"job {n}", "queue": QUEUES[n % 2]}) for n in range(10)]
    ended = [client.wait(job.id, timeout=400) for job in wanted]
    assert overlaps(ended) == []
    limit = system.settings().pool_limit
    for queue in QUEUES:
        mine = [job for job in ended if job.queue == queue]
        admitted = [next(m.at for m in job.milestones if m.phase == "starting") for job in mine]
        assert all(a and b and a < b for a, b in pairwise(admitted))
        # Those that are admitted together race to their pods and ends; those behind them do not.
        for times in ([job.started_at for job in mine], [job.finished_at for job in mine]):
            assert all(a and b and a < b for a, b in zip(times, times[limit:], strict=False))
    say(f"ten jobs on {len({pod for job in ended for pod in pods_of(job)})} pods")
