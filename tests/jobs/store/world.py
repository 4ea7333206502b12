"""A world that goes wrong: a broker that loses, repeats and reorders, workers that die or sleep.

Every step is drawn from one seeded generator. What the world believes is compared with what Redis holds.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from jobs.errors import PoolBusy
from jobs.job import Delivery, EventKind, JobError, Outcome, Phase, ResultKind, Status, rfc3339
from jobs.store import Answered, Lease, Renewal
from tests.jobs.store.support import Rig, done, failed, new_job

__all__ = ["World"]

QUEUES = ("short-low", "long-high")
WORK = (EventKind.REQUESTED, EventKind.CONTINUED)
MOST_JOBS = 14


class World:
    """One pool, its broker and its workers."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.random = rig, random.Random(seed)
        self.broker: list[Delivery] = []  # accepted, not yet delivered
        self.leases: list[Lease] = []  # of workers that believe to have one
        self.newest: dict[str, str] = {}  # job → token of its newest lease
        self.live_until: dict[str, int] = {}  # job → end of its newest lease, unless it was given back
        self.recorded: dict[str, Outcome] = {}
        self.granted: dict[str, set[str]] = {}  # job → tokens of all its leases
        self.ends: dict[str, Status] = {}  # what was once seen to have ended
        self.told: dict[str, set[EventKind]] = {}  # terminal events that consumers saw
        self.events: dict[str, Delivery] = {}  # by id
        self.faults = True

    async def step(self) -> bool:
        """Do one thing; whether it has given out the free credits."""
        actions: list[tuple[int, Callable[[], Awaitable[bool]]]] = [
            (10, self.submit),
            (3, self.submit_now),
            (25, self.deliver),
            (25, self.work),
            (4, self.cancel),
            (10, self.advance),
            (8, self.reap),
            (5, self.tick),
            (4, self.audit),
            (7, self.dead_letter),
            (3, self.late),
            (4, self.complete_for_nobody),
        ]
        weights = [weight for weight, _ in actions]
        ((_, action),) = self.random.choices(actions, weights)
        return await action()

    def chance(self, share: float) -> bool:
        return self.faults and self.random.random() < share

    async def publish(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            known = self.events.setdefault(delivery.event_id, delivery)
            assert known == delivery, "one id, two meanings"
            if self.chance(0.2):
                continue  # died before it published
            self.accept(delivery)
            if not self.chance(0.1):
                await self.rig.store.published(delivery)

    def accept(self, delivery: Delivery) -> None:
        if delivery.kind not in WORK:
            self.told.setdefault(delivery.job_id, set()).add(delivery.kind)
        if not self.chance(0.15):  # the broker loses it
            self.broker += [delivery] * (2 if self.chance(0.15) else 1)

    def reply(self, delivery: Delivery | None) -> None:
        if delivery is not None:
            assert self.events.setdefault(delivery.event_id, delivery) == delivery
            if not self.chance(0.2):
                self.accept(delivery)

    async def submit(self) -> bool:
        if len(self.granted) >= MOST_JOBS or not self.faults:
            return False
        deadline = rfc3339(self.rig.now + self.random.randrange(1, 900_000_000)) if self.chance(0.2) else None
        new = new_job(self.random.choice(QUEUES), self.random.choice([5, 50]), deadline=deadline)
        submission = await self.rig.store.submit(new)
        self.granted[new.id] = set()
        await self.publish(submission.deliveries)
        return True

    async def submit_now(self) -> bool:
        if len(self.granted) >= MOST_JOBS or not self.faults:
            return False
        new = new_job(self.random.choice(QUEUES))
        try:
            await self.rig.store.submit_now(new)
        except PoolBusy:
            return False
        self.granted[new.id] = set()
        if not self.chance(0.3):
            await self.claim(new.id)
        return False

    async def claim(self, job_id: str) -> None:
        match await self.rig.store.claim(job_id, f"gpu-{self.random.randrange(9)}"):
            case Lease() as lease:
                assert lease.token not in self.granted[job_id]
                assert self.live_until.get(job_id, 0) <= self.rig.now, "two leases at once"
                assert job_id not in self.recorded, "work on what is done"
                self.prolong(lease)
                self.granted[job_id].add(lease.token)
                self.newest[job_id] = lease.token
                self.leases.append(lease)
            case Answered(delivery):
                self.reply(delivery)

    async def deliver(self) -> bool:
        if not self.broker:
            return False
        event = self.random.choice(self.broker)
        if not self.chance(0.3):  # else it comes again, at any later time
            self.broker.remove(event)
        if event.kind in WORK:
            await self.claim(event.job_id)
            return False
        assert event.outcome is not None
        await self.publish(await self.rig.store.complete(event.job_id, event.outcome))
        return True

    async def work(self) -> bool:
        if not self.leases:
            return False
        lease = self.random.choice(self.leases)
        if self.chance(0.1):
            self.leases.remove(lease)  # it died
            return False
        step = self.random.randrange(9)
        match self.random.randrange(4):
            case 0:
                phase = self.random.choice(list(Phase)[2:])
                answer = await self.rig.store.renew(lease, phase, step)
                self.judge(lease, kept=answer is not Renewal.LOST)
                if answer is not Renewal.LOST:
                    self.prolong(lease)
                    return False
                self.leases.remove(lease)
            case 1:
                self.judge(lease, kept=await self.rig.store.checkpoint(lease, f"checkpoints/{step}", step))
            case 2:
                self.leases.remove(lease)
                self.give_back(lease, await self.rig.store.yield_(lease))
            case _:
                self.leases.remove(lease)
                cancelled = Outcome(ResultKind.CANCELLED, lease.token)
                outcome = self.random.choice([done(lease), done(lease), failed(lease), cancelled])
                self.give_back(lease, await self.rig.store.record(lease, outcome))
        return False

    def prolong(self, lease: Lease) -> None:
        self.live_until[lease.job.id] = self.rig.now + lease.seconds * 1_000_000

    def judge(self, lease: Lease, *, kept: bool) -> None:
        """Whoever holds the newest lease keeps it while it lives; whoever does not has lost it."""
        newest = self.newest[lease.job.id] == lease.token
        assert newest or not kept, "a stale lease was honoured"
        assert kept or not (newest and self.live_until.get(lease.job.id, 0) > self.rig.now), "lost alive"

    def give_back(self, lease: Lease, reply: Delivery | None) -> None:
        self.judge(lease, kept=reply is not None)
        if reply is not None:
            self.live_until.pop(lease.job.id, None)
            if reply.outcome is not None:
                self.recorded[lease.job.id] = reply.outcome
        self.reply(reply)

    async def complete_for_nobody(self) -> bool:
        """A terminal event that means nothing: of a lease that was lost, or of none."""
        if not self.granted or not self.faults:
            return False
        job_id = self.random.choice(list(self.granted))
        token = self.random.choice(["", *(self.granted[job_id] - {self.newest.get(job_id, "")})])
        outcome = Outcome(ResultKind.FAILED, token, error=JobError("stray", "of nobody"))
        await self.publish(await self.rig.store.complete(job_id, outcome))
        return True

    async def cancel(self) -> bool:
        if not self.granted or not self.faults:
            return False
        ended = await self.rig.store.cancel(self.random.choice(list(self.granted)))
        await self.publish(ended.deliveries)
        return False

    async def advance(self) -> bool:
        await self.rig.advance(self.random.choice([0.001, 5, 15, 61, 700]))
        return False

    async def reap(self) -> bool:
        due = await self.rig.store.due()
        for job_id in due:
            await self.publish(await self.rig.store.reap(job_id))
        return bool(due)

    async def tick(self) -> bool:
        await self.publish(await self.rig.store.tick())
        return True

    async def audit(self) -> bool:
        """Whatever goes wrong, the books are right."""
        audit = await self.rig.store.audit(self.random.choice([1, 5, 200]))
        assert audit.mended == ()
        await self.publish(audit.deliveries)
        return True

    async def dead_letter(self) -> bool:
        asking = [e for e in self.broker if e.kind in WORK]
        if not asking or not self.faults:
            return False
        event = self.random.choice(asking)
        self.broker.remove(event)
        code = self.random.choice([0, 503, 422])
        await self.publish(await self.rig.store.dead_letter(event.job_id, event.delivery, code, "so it is"))
        return False

    async def late(self) -> bool:
        asking = [e for e in self.broker if e.kind in WORK]
        if asking and self.faults:
            event = self.random.choice(asking)
            self.broker.remove(event)
            self.reply(await self.rig.store.late(event.job_id, event.delivery))
        return False

    async def settle(self) -> None:
        """From here on nothing goes wrong but for what has; until every job has ended."""
        self.faults = False
        for _ in range(2000):
            await self.step()
            await self.check(given_out=False)
            if len(self.ends) == len(self.granted) and not self.broker:
                await self.rig.advance(60)
                await self.tick()
                return
        raise AssertionError(f"stuck: {set(self.granted) - set(self.ends)}")

    async def check(self, *, given_out: bool) -> None:
        """Compare what must always hold with what Redis holds."""
        redis, pool, limit = self.rig.redis, self.rig.settings.pool, self.rig.settings.pool_limit
        pipe = redis.pipeline(transaction=True)
        pipe.zrange(f"credits:{pool}", 0, -1)
        pipe.hget(f"pool:{pool}", "paused_until")
        for queue in QUEUES:
            pipe.zrange(f"backlog:{queue}", 0, -1)
            pipe.zrange(f"delayed:{queue}", 0, -1)
        for queue in QUEUES:
            for status in Status:
                pipe.zrange(f"index:{queue}:{status}", 0, -1)
        for job_id in self.granted:
            pipe.hgetall(f"job:{job_id}")
        held, paused_until, *rest = await pipe.execute()
        waiting, delayed, indexes = rest[0] + rest[2], rest[1] + rest[3], rest[4:14]
        records = dict(zip(self.granted, rest[14:], strict=True))

        assert len(held) <= limit
        for job_id, record in records.items():
            places = [job_id in held, job_id in waiting, job_id in delayed]
            status = Status(record["status"])
            assert sum(places) == (0 if status.terminal else 1), record
            assert sum(job_id in index for index in indexes) == 1
            assert job_id in indexes[QUEUES.index(record["queue"]) * len(Status) + list(Status).index(status)]
            assert (status is Status.PENDING) == (record.get("phase") in ("waiting", "starting"))
            assert places[0] or "token" not in record
            if status.terminal:
                assert self.ends.setdefault(job_id, status) is status, "an end is final"
            else:
                assert job_id not in self.ends, "an end is final"
            if status.terminal and job_id in self.recorded:
                recorded = self.recorded[job_id]
                assert (status, record["result_token"]) == (Status(recorded.kind), recorded.token)
            else:
                assert status is not Status.COMPLETED
                assert record.get("error_code") != "stray"
        assert set(held) | set(waiting) | set(delayed) <= set(records)
        if given_out and waiting and len(held) < limit:
            assert int(paused_until or 0) > self.rig.now, "a free credit beside a job that waits"
