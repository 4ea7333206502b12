"""Guards of the protocol, each taken out: the simulation has to notice.

A mutation replaces a piece of the Lua text, which has to be there, or breaks a rule of the predictor.
"""

# ruff: noqa: E501  # one mutation a line: its name, the guard, and what stands in its place

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path

from jobs.scripts import Script, transitions
from tests.simulation.faults import Faults
from tests.simulation.link import CLOCK
from tests.simulation.worker import ALL_RULES, Rules
from tests.simulation.world import has_real_predictor

__all__ = ["EVERYDAY", "MUTATIONS", "NOTICED", "NO_MUTATION", "Mutation", "by_name"]

#: How many schedules, from seed 0 on, are run every day.
EVERYDAY = 2000

#: Mutation → a seed whose schedule has noticed it. `python -m tests.simulation --hunt` writes it anew.
NOTICED = Path(__file__).parent / "noticed.json"


@cache
def _noticed() -> Mapping[str, int]:
    found: Mapping[str, int] = json.loads(NOTICED.read_text("utf-8")) if NOTICED.exists() else {}
    return found


@dataclass(frozen=True)
class Mutation:
    """One guard less."""

    name: str
    old: str = ""  # in transitions.lua
    new: str = ""
    rule: str = ""  # of the predictor
    needs: frozenset[str] = frozenset()  # kinds of faults without which nobody could notice
    real: bool = False  # only the real predictor does what the guard is for

    def seeds(self, most: int) -> Iterator[int]:
        """The first of every day's seeds in whose worlds it can matter; before them one that has noticed it."""
        seeds = (seed for seed in range(EVERYDAY) if self.needs <= Faults(seed).rates.keys())
        likely = (seed for seed in seeds if not self.real or has_real_predictor(seed))
        known = _noticed().get(self.name)
        return chain(() if known is None else (known,), islice(likely, most))

    @cached_property
    def script(self) -> Script:
        """The transitions without the guard. Raises ValueError where the guard is not found."""
        text = transitions(CLOCK).text
        if self.old not in text:
            raise ValueError(f"{self.name}: {self.old!r} is not in transitions.lua")
        return Script(text.replace(self.old, self.new))

    @property
    def rules(self) -> Rules:
        """The predictor's."""
        return replace(ALL_RULES, **{self.rule: False}) if self.rule else ALL_RULES


#: The code as it is.
NO_MUTATION = Mutation("none")

MUTATIONS: Sequence[Mutation] = (
    # 1 submit
    Mutation("submit: an idempotency key is not looked up", "  if given(key) then\n    local known, same", "  if false then\n    local known, same"),
    Mutation("submit: the backlog has no limit", "elseif waiting(queue) >= BACKLOG then", "elseif false then"),
    Mutation("submit: no PUMP", "    enqueue(job)\n    pump()\n", "    enqueue(job)\n"),
    # 2 PUMP
    Mutation("pump: the pause is not heeded", "local function pump()\n  if paused() then return end", "local function pump()"),
    Mutation("pump: the credits have no limit", "while held < LIMIT do", "while held < LIMIT + 1 do"),
    Mutation("pump: the newest first", "redis.call('ZRANGE', 'backlog:' .. queue, 0, 0)[1]", "redis.call('ZRANGE', 'backlog:' .. queue, -1, -1)[1]"),
    Mutation("pump: a job past its deadline is admitted", "    elseif decide_own_end(job) then\n      finish(job)\n    else\n      admit(job)", "    else\n      admit(job)", needs=frozenset({"a deadline"})),
    Mutation("pump: one queue always goes first", "(not least or time < least) then best, least = queue, time end", "not best then best, least = queue, time end"),
    Mutation("pump: an idle queue saves up time", "if waiting(job.queue) == 0 then wake(job.queue) end", ""),
    Mutation("pump: the event is due too late", "redis.call('ZADD', CREDITS, int(NOW + UNPUBLISHED), ids[job])", "redis.call('ZADD', CREDITS, int(NOW + GRACE), ids[job])"),
    Mutation("pump: an event's number is a counter", "job.delivery = int(math.max(num(job.delivery) + 1, NOW))", "job.delivery = int(num(job.delivery) + 1)"),
    # 3 published
    Mutation("published: any delivery", "elseif job.delivery == delivery and not job.token", "elseif not job.token", needs=frozenset({"function is slow", "broker loses an event"})),
    Mutation("published: also under a lease", "job.delivery == delivery and not job.token and", "job.delivery == delivery and"),
    Mutation("published: the outbox is never emptied", "if tonumber(redis.call('ZSCORE', OUTBOX, id) or '') == tonumber(delivery) then", "if false then"),
    # 4 claim
    Mutation("claim: without a credit", "if not redis.call('ZSCORE', CREDITS, id) then return 'no_credit' end", "", needs=frozenset({"broker is slow", "broker delivers twice", "subscriber fails with 5xx"})),
    Mutation("claim: beside a live lease", "if leased(job) then return 'leased' end", ""),
    Mutation("claim: a takeover is no strike", "if job.token then strike_lost(job) end\n    if decide_own_end(job) then\n      release", "if decide_own_end(job) then\n      release", needs=frozenset({"predictor sleeps past its lease", "a round of the reaper is missed"})),
    Mutation("claim: cancel and deadline are not heeded", "    if decide_own_end(job) then\n      release(job)", "    if false then\n      release(job)", needs=frozenset({"a deadline"})),
    Mutation("claim: a result is not answered", "  if job.result then\n    deliver(job, job.result)\n    return 'answered'\n  end", "", needs=frozenset({"broker delivers twice"})),
    Mutation("claim: a result comes second", "  if not job.result then\n    if leased(job)", "  job.result = nil\n  if not job.result then\n    if leased(job)", needs=frozenset({"broker delivers twice"})),
    Mutation("claim: the lease is not on the agenda", "redis.call('ZADD', CREDITS, job.lease_until, id)\n  pool()", "redis.call('ZADD', CREDITS, int(NOW + 9 * LEASE), id)\n  pool()"),
    # FENCE: 5 renew, 6 checkpoint, 7 yield, 9 record
    Mutation("fence: any token", "job.status == 'processing' and job.token == token and not job.result", "job.status == 'processing' and job.token and not job.result", needs=frozenset({"predictor sleeps past its lease", "a round of the reaper is missed"})),
    Mutation("fence: a result does not close it", "job.token == token and not job.result then return job end", "job.token == token then return job end"),
    Mutation("renew: no fence", "  local job = fenced(id, token)\n  if not job then return 'lost' end\n  job.lease_until", "  local job = load(id)\n  if not job then return 'lost' end\n  job.lease_until", needs=frozenset({"predictor sleeps past its lease"})),
    Mutation("renew: cancel is not said", "return job.cancel and 'cancel' or", "return", needs=frozenset({"client cancels"})),
    Mutation("checkpoint: no fence", "local id, token, key, step = unpack(A)\n  local job = fenced(id, token)", "local id, token, key, step = unpack(A)\n  local job = load(id)", needs=frozenset({"predictor sleeps past its lease", "a round of the reaper is missed"})),
    Mutation("unkept: no fence", "local id, token, step = unpack(A)\n  local job = fenced(id, token)", "local id, token, step = unpack(A)\n  local job = load(id)", needs=frozenset({"predictor sleeps past its lease", "object store is away"}), real=True),
    Mutation("checkpoint: progress clears no strikes", "if progress then job.strikes, job.reasons = nil, nil end", ""),
    Mutation("checkpoint: the pointer is not kept", "job.checkpoint, job.checkpoint_step = key, step", ""),
    Mutation("yield: gives up the credit", "  job.yielded = token\n", "  redis.call('ZREM', CREDITS, id)\n  deliveries = {}\n  if true then return 'ok' end\n"),
    Mutation("yield: keeps the token", "  release(job)\n  job.yielded = token", "  job.yielded = token"),
    Mutation("yield: no new delivery", "  job.yielded = token\n  new_delivery(job)", "  job.yielded = token"),
    Mutation("yield: `since` stays", "  new_delivery(job)\n  job.since = job.delivery\n  -- A reply", "  new_delivery(job)\n  -- A reply", needs=frozenset({"broker gives up waiting"})),
    Mutation("yield: no strike without progress", "if not job.cancel and not late(job) then\n    strike(job, given", "if false then\n    strike(job, given", needs=frozenset({"predictor gets SIGTERM"})),
    # 8 late
    Mutation("late: any delivery", "if not job or job.delivery ~= delivery or job.token", "if not job or job.token", needs=frozenset({"broker is slow"})),
    Mutation("late: beside a lease", "job.delivery ~= delivery or job.token or terminal(job)", "job.delivery ~= delivery or terminal(job)", needs=frozenset({"broker is slow"})),
    # 9 record
    Mutation("record: no fence", "local id, kind, token, code, message = unpack(A)\n  local job = fenced(id, token)", "local id, kind, token, code, message = unpack(A)\n  local job = load(id)", needs=frozenset({"predictor sleeps past its lease"})),
    Mutation("record: not on the agenda", "decide_by_worker(job, kind, token, code, message)\n    redis.call('ZADD', CREDITS, int(NOW + UNCOMPLETED), id)", "decide_by_worker(job, kind, token, code, message)\n    redis.call('ZADD', CREDITS, int(NOW + 9 * UNCOMPLETED), id)"),
    # 10 complete
    Mutation("complete: any token", "elseif given(token) and job.token == token then", "elseif given(token) then", needs=frozenset({"an old result arrives"})),
    Mutation("complete: any result", "if job.result == kind and (job.result_token or '') == token then finish(job, true) end", "decide_by_worker(job, kind, token, code, message)\n      finish(job, true)", needs=frozenset({"an old result arrives"})),
    Mutation("complete: no PUMP", "      finish(job, true)\n    end\n  end\n  pump()", "      finish(job, true)\n    end\n  end"),
    # 11 cancel
    Mutation("cancel: before a result", "elseif job.result or job.cancel then\n    return 'ok', { id }", "elseif job.cancel then\n    return 'ok', { id }", needs=frozenset({"client cancels"})),
    Mutation("cancel: ends a job at work", "  elseif job.token then\n    job.cancel = '1'\n    show(job)\n", "", needs=frozenset({"client cancels"})),
    # 12 reap
    Mutation("reap: does not look again whether it is due", "if not due or due > NOW then return 'nothing' end", "if not due then return 'nothing' end"),
    Mutation("reap: a result is not completed", "  if job.result then\n    finish(job)\n    return 'completed'\n  elseif", "  if job.result then return 'nothing'\n  elseif"),
    Mutation("reap: a lost lease is no strike", "local function mend_lost_lease(job)\n  strike_lost(job)", "local function mend_lost_lease(job)"),
    Mutation("reap: the third strike is no end", "elseif num(job.strikes) >= STRIKES then", "elseif false then", needs=frozenset({"predictor dies"})),
    Mutation("reap: no new delivery", "  new_delivery(job)\n  job.reissues = int(num(job.reissues) + 1)\n  redis.call('ZADD', CREDITS, due_after(job, UNPUBLISHED), id)", "  job.reissues = int(num(job.reissues) + 1)\n  redis.call('ZADD', CREDITS, due_after(job, UNPUBLISHED), id)"),
    Mutation("reap: frees the credit of a job without an event", "  deliver(job, job.status == 'pending' and 'requested' or 'continued')\n  return 'reissued'", "  redis.call('ZREM', CREDITS, id)\n  return 'reissued'"),
    # 13 requeue
    Mutation("requeue: a new seq", "local function requeue(job)\n", "local function requeue(job)\n  job.seq = int(redis.call('INCR', 'seq'))\n"),
    Mutation("requeue: the credit stays", "  redis.call('ZREM', CREDITS, ids[job])\n  job.reissues, job.yielded", "  job.reissues, job.yielded"),
    Mutation("requeue: the token stays", "  settle(job)\n  release(job)\n  redis.call('ZREM', CREDITS, ids[job])\n  job.reissues", "  settle(job)\n  redis.call('ZREM', CREDITS, ids[job])\n  job.reissues"),
    # 14 dead letter
    Mutation("dead letter: any delivery", "or num(delivery) < num(job.since)", "", needs=frozenset({"broker gives up waiting"})),
    Mutation("dead letter: beside a live lease", "job.result or leased(job) or not job.since", "job.result or not job.since", needs=frozenset({"broker gives up waiting"})),
    Mutation("dead letter: the pool is not paused", "      did = 'requeued'\n    end\n    pause_pool()", "      did = 'requeued'\n    end", needs=frozenset({"subscriber fails with 5xx"})),
    Mutation("dead letter: refusals have no end", "num(job.pauses) >= PAUSES", "false", needs=frozenset({"subscriber refuses with 4xx"})),
    # 15 tick
    Mutation("tick: delayed jobs are not woken", "if job and not terminal(job) then enqueue(job) end", ""),
    Mutation("tick: deadlines of waiting jobs", "if decide_own_end(job) then finish(job) end\n    end\n  end\n  for", "end\n  end\n  for", needs=frozenset({"a deadline"})),
    Mutation("tick: no PUMP", "  pump()\n  local left", "  local left"),
    Mutation("tick: the outbox is not published", "if job and terminal(job) then deliver(job, job.status) else", "if job and terminal(job) then else", needs=frozenset({"broker refuses an event"})),
    # FINAL, boot, retention
    Mutation("final: the credit stays", "  release(job)\n  redis.call('ZREM', CREDITS, id)\n  redis.call('ZREM', 'backlog:'", "  release(job)\n  redis.call('ZREM', 'backlog:'"),
    Mutation("final: its place in the backlog stays", "  redis.call('ZREM', 'backlog:' .. job.queue, id)\n  redis.call('ZREM', 'delayed:'", "  redis.call('ZREM', 'delayed:'"),
    Mutation("final: nobody is told", "    redis.call('ZADD', OUTBOX, job.delivery, id)\n    deliver(job, job.status)", ""),
    Mutation("boot: leases are not extended", "job.lease_until = int(math.max(num(job.lease_until), NOW + LEASE))", "", needs=frozenset({"redis restarts"})),
    Mutation("retention: the key stays", "      forget_key(job, id)\n", ""),
    Mutation("retention: the record stays", "redis.call('DEL', 'job:' .. id)", ""),
    # What came last: :predict, excuses, the reissues' end, results
    Mutation("submit: a call goes before those that wait", "for _, other in ipairs(all_queues()) do busy = busy or waiting(other) > 0 end", "", real=True),
    Mutation("submit: a call takes a credit that is not free", "local busy = paused() or redis.call('ZCARD', CREDITS) >= LIMIT", "local busy = paused()", real=True),
    Mutation("strike: an outage of the object store is no excuse", "if job.unkept and num(job.excuses) < EXCUSES then", "if false then", needs=frozenset({"object store is away"}), real=True),
    Mutation("reap: the pool is not paused after six events", "    requeue(job)\n    pause_pool()\n    return 'requeued'", "    requeue(job)\n    return 'requeued'", needs=frozenset({"a Trigger is gone for a while"})),
    Mutation("reap: events are sent for ever", "elseif num(job.reissues) >= REISSUES then", "elseif false then", needs=frozenset({"a Trigger is gone for a while"})),
    Mutation("dead letter: beside a result", "job.result or leased(job) or not job.since", "leased(job) or not job.since", needs=frozenset({"broker delivers twice", "broker is slow", "subscriber refuses with 4xx"})),
    Mutation("index: the old status stays", "if job.status then redis.call('ZREM', index .. job.status, ids[job]) end", ""),
    # The predictor
    Mutation("predictor: works on when its own clock says that its lease is over", rule="own_clock", needs=frozenset({"predictor sleeps past its lease"})),
    Mutation("predictor: does not heed that its lease is lost", rule="heeds_lost", needs=frozenset({"predictor sleeps past its lease"})),
    Mutation("predictor: replies before it records", rule="record_first"),
    Mutation("predictor: replies what it meant", rule="replies_recorded"),
    Mutation("predictor: no token in the key of a video", rule="token_in_keys", needs=frozenset({"predictor sleeps past its lease"})),
    Mutation("predictor: points to a checkpoint before it is stored", rule="durable_first"),
    Mutation("predictor: records before it uploads", rule="uploads_first"),
)  # fmt: skip


def by_name(name: str) -> Mutation:
    """The one of that name. Raises KeyError."""
    return {mutation.name: mutation for mutation in MUTATIONS}[name]
