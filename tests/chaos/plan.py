"""What is done when: jobs and faults, drawn from a seed. No I/O; the same seed gives the same plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

__all__ = ["CONNECTIONS", "PROCESSES", "SERVERS", "SPOKEN_TO", "Fault", "Kind", "Plan", "Wish", "make_plan"]

#: Kept by the supervisor, which is never touched itself.
PROCESSES = ("broker", "submit", "completion", "reaper", "predictor")
#: Kept by the tests.
SERVERS = ("valkey", "seaweed")
#: Of the processes to these, each through a proxy: servers first, then those that are spoken to by HTTP.
SPOKEN_TO = ("broker", "predictor", "completion", "reaper")
CONNECTIONS = ("redis", "s3", *(f"to {name}" for name in SPOKEN_TO))

LEASE_SECONDS = 3.0
_CLIENTS = 6


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "killed"  # SIGKILL; a server is away for `seconds`, a process until it is started again
    RESTART = "restarted"  # a server, by SIGTERM
    STOP = "stopped"  # SIGSTOP, and SIGCONT after `seconds`
    CUT = "cut"  # every connection, at once
    REFUSE = "refused"  # new connections, and the old ones are cut
    SILENCE = "silent"  # connections stay, and nothing comes through
    DELAY = "delayed"  # everything comes through later


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    at: float  # seconds after the start
    kind: Kind
    target: str
    seconds: float = 0.0  # how long it lasts
    delay: float = 0.0  # seconds by which what is sent comes later


@dataclass(frozen=True)
class Wish:
    """A job that a client asks for."""

    at: float  # seconds after the start
    client: int
    key: str  # of idempotency
    fields: dict[str, Any]
    twice: bool  # asked for again after it was accepted, as a client does that lost the answer
    watched: bool  # its events are followed to their end
    cancel_after: float | None = None  # seconds after it was accepted
    deadline_seconds: float | None = None  # after `at`


@dataclass(frozen=True)
class Plan:
    """A run."""

    seed: int
    seconds: float  # of faults
    wishes: tuple[Wish, ...]
    faults: tuple[Fault, ...]


def make_plan(seed: int, jobs: int, seconds: float) -> Plan:
    """Jobs within the first four fifths of `seconds`, and a fault every second or two."""
    random = Random(seed)
    moments = sorted(random.uniform(0, 0.8 * seconds) for _ in range(jobs))
    wishes = tuple(_wish(random, seed, number, at) for number, at in enumerate(moments))
    return Plan(seed, seconds, wishes, tuple(_faults(random, seconds)))


def _wish(random: Random, seed: int, number: int, at: float) -> Wish:
    fields = {
        "prompt": f"job {number} of seed {seed}",
        "queue": random.choice(["short-low", "long-high"]),
        "width": random.choice([32, 64]),
        "height": random.choice([32, 64]),
        "num_frames": random.choice([7, 13]),
        "num_inference_steps": random.choices([20, 100, 300, 2000], weights=(4, 4, 2, 1))[0],
        "seed": number,
    }
    special = random.random()
    return Wish(
        at=at,
        client=number % _CLIENTS,
        key=f"{seed}-{number}",
        fields=fields,
        twice=random.random() < 0.2,
        watched=random.random() < 0.1,
        cancel_after=random.uniform(0, 5) if special < 0.06 else None,
        deadline_seconds=random.uniform(2, 20) if special > 0.95 else None,
    )


def _faults(random: Random, seconds: float) -> list[Fault]:
    faults = []
    at = random.uniform(0.5, 1.5)
    while at < seconds:
        faults.append(_fault(random, at))
        at += random.uniform(0.7, 2.0)
    return faults


def _fault(random: Random, at: float) -> Fault:
    chance = random.random()
    if chance < 0.42:
        return _kill(random, at)
    if chance < 0.62:
        return _stop(random, at)
    kind = random.choice([Kind.CUT, Kind.CUT, Kind.REFUSE, Kind.SILENCE, Kind.DELAY])
    lasts = 0.0 if kind is Kind.CUT else random.uniform(0.3, 4.0)
    delay = random.uniform(0.02, 0.3) if kind is Kind.DELAY else 0.0
    return Fault(at, kind, random.choice(CONNECTIONS), lasts, delay)


def _kill(random: Random, at: float) -> Fault:
    target = random.choices((*PROCESSES, *SERVERS), weights=(4, 3, 4, 3, 4, 2, 2))[0]
    if target not in SERVERS:
        return Fault(at, Kind.KILL, target)
    return Fault(at, random.choice([Kind.KILL, Kind.RESTART]), target, random.uniform(0.2, 3.0))


def _stop(random: Random, at: float) -> Fault:
    target = random.choices((*PROCESSES, *SERVERS), weights=(2, 2, 2, 1, 4, 2, 1))[0]
    past_its_lease = target == "predictor" and random.random() < 0.6
    lasts = random.uniform(1.2, 2.5) * LEASE_SECONDS if past_its_lease else random.uniform(0.3, 3.0)
    return Fault(at, Kind.STOP, target, lasts)
