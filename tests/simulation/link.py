"""A real Valkey on a unix socket, and one synchronous connection: a call is one point in simulated time.

With each transition goes the simulated clock before it, and after it a look at all that the invariants
are about, in the same round trip.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis

from jobs.scripts import Script, transitions
from local.embedded import valkey
from tests.servers import PASSWORD, running

__all__ = ["CLOCK", "POOL", "QUEUES", "Link", "Record", "Seen", "valkey_socket"]

CLOCK = "return tonumber(redis.call('GET', 'now'))"
POOL = "pool"
QUEUES = ("first", "second")

_FIELDS = (
    "status", "queue", "seq", "token", "lease_until", "result", "result_token", "delivery", "since",
    "checkpoint", "checkpoint_step", "cancel", "deadline", "s3_url", "etag", "bytes", "attempt", "reissues",
    "strikes",
)  # fmt: skip
_LOOK = """
local seen = { redis.call('ZRANGE', 'credits:POOL', 0, -1, 'WITHSCORES'),
  redis.call('HGET', 'pool:POOL', 'paused_until') or '0', redis.call('ZRANGE', 'outbox:POOL', 0, -1) }
for _, queue in ipairs({ QUEUES }) do
  seen[#seen + 1] = redis.call('ZRANGE', 'backlog:' .. queue, 0, -1)
  seen[#seen + 1] = redis.call('ZRANGE', 'delayed:' .. queue, 0, -1)
end
for _, id in ipairs(ARGV) do seen[#seen + 1] = redis.call('HMGET', 'job:' .. id, FIELDS) end
return seen
"""
for _name, _text in (
    ("POOL", POOL),
    ("QUEUES", ", ".join(f"'{queue}'" for queue in QUEUES)),
    ("FIELDS", ", ".join(f"'{name}'" for name in _FIELDS)),
):
    _LOOK = _LOOK.replace(_name, _text)


@dataclass(frozen=True)
class Record:
    """What the record of a job says; absent fields are empty or 0."""

    status: str = ""
    queue: str = ""
    seq: int = 0
    token: str = ""
    lease_until: int = 0
    result: str = ""
    result_token: str = ""
    delivery: int = 0
    since: int = 0
    checkpoint: str = ""
    checkpoint_step: int = 0
    cancel: str = ""
    deadline: int = 0
    s3_url: str = ""
    etag: str = ""
    bytes: int = 0
    attempt: int = 0
    reissues: int = 0
    strikes: int = 0

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in ("completed", "failed", "cancelled")


_NUMBERS = frozenset(name for name, kind in Record.__annotations__.items() if kind == "int")


@dataclass(frozen=True)
class Seen:
    """All that the invariants are about, between two transitions."""

    credits: dict[str, int] = field(default_factory=dict)  # job → due
    paused_until: int = 0
    outbox: tuple[str, ...] = ()
    backlog: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by queue, in its order
    delayed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    @property
    def waiting(self) -> set[str]:
        """Jobs in a backlog."""
        return {job for jobs in self.backlog.values() for job in jobs}


@contextmanager
def valkey_socket(folder: Path) -> Iterator[Path]:
    """A Valkey that nobody but this run can reach; the path of its socket."""
    command = valkey(folder, 0, PASSWORD, appendonly=False)
    path = folder / "s"
    argv = [*command.argv, "--unixsocket", str(path)]
    with running(argv, folder / "log", path.exists):
        yield path


class Link:
    """The connection. `run_id` names the server; a new one stands for a restart."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.fspath(path))
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self.ask("AUTH", PASSWORD)
        self._look = Script(_LOOK)
        self._script = transitions(CLOCK)
        self.load(self._script)
        self.ask("SCRIPT", "LOAD", self._look.text)
        self.run_id = 0

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def load(self, script: Script) -> None:
        """Use this script from now on."""
        self._script = script
        if (answer := self.ask("SCRIPT", "LOAD", script.text)) != script.sha:
            raise AssertionError(f"the script is refused: {answer}")

    def flush(self) -> None:
        """Forget all data; a new server."""
        self.ask("FLUSHALL")
        self.run_id = 1

    def call(self, now_us: int, arguments: Sequence[str | int], jobs: Sequence[str]) -> tuple[Any, Seen]:
        """Run a transition, then look; its answer may be an error."""
        _, answer, look = self._pipeline(
            ("SET", "now", str(now_us)),
            ("EVALSHA", self._script.sha, "0", *map(str, arguments)),
            ("EVALSHA", self._look.sha, "0", *jobs),
        )
        if isinstance(look, Exception):
            raise look
        return answer, _seen(look, jobs)

    def ask(self, *command: str) -> Any:  # noqa: ANN401  # whatever Redis answers
        """One command; its answer, which may be an error."""
        return self._pipeline(command)[0]

    def _pipeline(self, *commands: Sequence[str]) -> list[Any]:
        packed = (hiredis.pack_command(tuple(command)) for command in commands)  # type: ignore[arg-type]  # its stub says a tuple of one
        self._socket.sendall(b"".join(packed))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is False:
                self._reader.feed(self._socket.recv(1 << 16))
            else:
                answers.append(answer)
        return answers


def _seen(look: list[Any], jobs: Sequence[str]) -> Seen:
    held, paused_until, outbox, *rest = look
    count = len(QUEUES)
    lists = rest[: 2 * count]
    records = {}
    for job, values in zip(jobs, rest[2 * count :], strict=True):
        if values[0] is not None:
            fields: dict[str, Any] = {
                name: int(float(value)) if name in _NUMBERS else value
                for name, value in zip(_FIELDS, values, strict=True)
                if value is not None
            }
            records[job] = Record(**fields)
    return Seen(
        credits={held[i]: int(float(held[i + 1])) for i in range(0, len(held), 2)},
        paused_until=int(float(paused_until)),
        outbox=tuple(outbox),
        backlog={queue: tuple(lists[2 * i]) for i, queue in enumerate(QUEUES)},
        delayed={queue: tuple(lists[2 * i + 1]) for i, queue in enumerate(QUEUES)},
        records=records,
    )
