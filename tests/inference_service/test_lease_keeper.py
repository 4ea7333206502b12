from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from inference_service.lease_keeper import PHASE_LIMITS, LeaseKeeper
from inference_service.pipeline import Stop, StopReason
from jobs.errors import StoreUnavailable
from jobs.job import Phase
from jobs.store import Lease, Renewal
from tests.inference_service.slicing import Clock
from tests.inference_service.support import job


class Redis:
    """The store's far end: answers renewals, or is away."""

    def __init__(self) -> None:
        self.answer = Renewal.OK
        self.away = False
        self.seen: list[tuple[Phase, int]] = []
        self.refused = 0
        self.closed = 0
        self._changed = threading.Condition()

    async def renew(self, _lease: Lease, phase: Phase, step: int) -> Renewal:
        await asyncio.sleep(0)
        with self._changed:
            self._changed.notify_all()
            if self.away:
                self.refused += 1
                raise StoreUnavailable("away")
            self.seen.append((phase, step))
            return self.answer

    async def close(self) -> None:
        self.closed += 1

    def more(self, seconds: float) -> bool:
        """Whether another renewal comes within that time."""
        with self._changed:
            count = len(self.seen)
            return self._changed.wait_for(lambda: len(self.seen) > count, seconds)

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 20)


@pytest.fixture
def redis() -> Redis:
    return Redis()


def keeper(redis: Redis, seconds: int = 60, claimed_at: float | None = None) -> LeaseKeeper:
    lease = Lease(job=job(), token="t", attempt=1, slot="s", seconds=seconds)
    return LeaseKeeper(lease, lambda: redis, time.monotonic() if claimed_at is None else claimed_at)


def test_renews_without_any_report(redis: Redis) -> None:
    with keeper(redis, seconds=1):
        redis.wait(lambda: len(redis.seen) >= 2)
    assert set(redis.seen) == {(Phase.ENCODING_PROMPT, 0)}
    assert redis.closed == 1


def test_pushes_every_phase_in_order_however_fast_they_come(redis: Redis) -> None:
    with keeper(redis) as k:
        k.report(Phase.ENCODING_PROMPT, 0)
        k.report(Phase.DENOISING, 0)
        for step in range(1, 25):
            k.report(Phase.DENOISING, step)
        for phase in (Phase.DECODING, Phase.ENCODING, Phase.UPLOADING):
            k.report(phase, 24)
        assert k.flush(20)
    phases = list(dict.fromkeys(phase for phase, _ in redis.seen))
    assert phases == [
        Phase.ENCODING_PROMPT,
        Phase.DENOISING,
        Phase.DECODING,
        Phase.ENCODING,
        Phase.UPLOADING,
    ]
    assert (Phase.DENOISING, 24) in redis.seen


def test_steps_are_pushed_together(redis: Redis) -> None:
    with keeper(redis) as k:
        for step in range(1000):
            k.report(Phase.DENOISING, step)
        assert k.flush(20)
    assert redis.seen[-1] == (Phase.DENOISING, 999)
    assert len(redis.seen) < 100


@pytest.mark.parametrize("answer", [Renewal.CANCEL, Renewal.DEADLINE, Renewal.LOST])
def test_check_stops_the_work(redis: Redis, answer: Renewal) -> None:
    redis.answer = answer
    with keeper(redis) as k:
        k.announce(Phase.DENOISING, 1)
        assert k.flush(20)
        with pytest.raises(Stop) as stop:
            k.check()
    assert stop.value.reason == StopReason(answer)


def test_a_cancelled_job_keeps_its_lease_until_it_is_recorded(redis: Redis) -> None:
    redis.answer = Renewal.CANCEL
    with keeper(redis, seconds=1):
        redis.wait(lambda: len(redis.seen) >= 3)


def test_a_lost_lease_is_renewed_no_more(redis: Redis) -> None:
    redis.answer = Renewal.LOST
    with keeper(redis, seconds=1) as k:
        k.announce(Phase.DENOISING, 1)
        k.flush(20)
        redis.wait(lambda: redis.closed == 1 or bool(redis.seen))
    assert len(redis.seen) == 1


def test_lost_wins_over_cancel(redis: Redis) -> None:
    redis.answer = Renewal.CANCEL
    with keeper(redis, seconds=1) as k:
        redis.wait(lambda: bool(redis.seen))
        redis.answer = Renewal.LOST
        count = len(redis.seen)
        redis.wait(lambda: len(redis.seen) > count)
        k.announce(Phase.DENOISING, 2)
    assert k.reason is StopReason.LOST


def test_work_goes_on_while_redis_is_away_and_the_lease_lives(redis: Redis) -> None:
    redis.away = True
    with keeper(redis) as k:
        k.report(Phase.DENOISING, 1)
        redis.wait(lambda: redis.refused >= 3)
        k.check()
        redis.away = False
        assert k.flush(20)
    assert redis.seen == [(Phase.DENOISING, 1)]


def test_no_work_after_the_lease_ran_out_until_it_is_renewed(redis: Redis) -> None:
    redis.away = True
    with keeper(redis, seconds=1, claimed_at=time.monotonic() - 2) as k:
        passed = threading.Event()

        def work() -> None:
            k.check()
            passed.set()

        worker = threading.Thread(target=work)
        worker.start()
        redis.wait(lambda: redis.refused >= 2)
        assert not passed.is_set()
        redis.away = False
        assert passed.wait(20)
        worker.join()


def test_a_lease_that_ran_out_and_is_lost_stops_the_work(redis: Redis) -> None:
    redis.answer = Renewal.LOST
    with keeper(redis, seconds=1, claimed_at=time.monotonic() - 2) as k, pytest.raises(Stop) as stop:
        k.check()
    assert stop.value.reason is StopReason.LOST


def test_a_stuck_phase_is_renewed_no_more_and_progress_revives_it(redis: Redis) -> None:
    lease = Lease(job=job(), token="t", attempt=1, slot="s", seconds=1)
    limits = {**PHASE_LIMITS, Phase.DECODING: 0.0}
    told: list[str] = []
    with LeaseKeeper(lease, lambda: redis, time.monotonic(), limits, stuck=told.append) as k:
        k.announce(Phase.DECODING, 24)
        assert k.flush(20)
        assert not redis.more(0.5)  # three heartbeats of this lease
        assert told == ["decoding has made no progress for 0 s"]
        k.announce(Phase.ENCODING, 24)
        redis.wait(lambda: (Phase.ENCODING, 24) in redis.seen)


def test_work_that_waited_for_an_outage_to_end_is_not_stuck(redis: Redis) -> None:
    lease = Lease(job=job(), token="t", attempt=1, slot="s", seconds=1)
    told: list[str] = []
    clock = Clock()
    with LeaseKeeper(lease, lambda: redis, clock(), clock=clock, stuck=told.append) as k:
        k.announce(Phase.DENOISING, 1)
        assert k.flush(20)
        redis.away = True
        redis.wait(lambda: redis.refused > 0)
        clock.add(2 * PHASE_LIMITS[Phase.DENOISING])
        redis.away = False
        count = len(redis.seen)
        redis.wait(lambda: len(redis.seen) > count + 1)  # it is renewed, and again
    assert told == []


def test_abort_stops_the_work(redis: Redis) -> None:
    with keeper(redis) as k:
        k.abort(StopReason.SHUTDOWN)
        with pytest.raises(Stop) as stop:
            k.check()
    assert stop.value.reason is StopReason.SHUTDOWN
