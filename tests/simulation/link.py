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
    "strikes", "unkept",
)  # fmt: skip
_LOOK = (
    ("ZRANGE", f"credits:{POOL}", "0", "-1", "WITHSCORES"),
    ("HGET", f"pool:{POOL}", "paused_until"),
    ("ZRANGE", f"outbox:{POOL}", "0", "-1"),
    *(("ZRANGE", f"{place}:{queue}", "0", "-1") for place in ("backlog", "delayed") for queue in QUEUES),
)
_COPY = """
redis.call('SELECT', ARGV[2])
redis.call('FLUSHDB')
redis.call('SELECT', ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[2]) end
"""


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
    unkept: str = ""

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
        self._sha = ""
        self.load(transitions(CLOCK))
        self._look = b"".join(map(_packed, _LOOK))
        self._looks: dict[str, bytes] = {}  # a job's
        self._records: dict[str, tuple[list[Any], Record]] = {}  # a job's, as it was seen last
        self._last: tuple[list[Any], Seen] = ([], Seen())
        self.run_id = 0

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def load(self, script: Script) -> None:
        """Use this script from now on."""
        self._sha = script.sha
        if (answer := self.ask("SCRIPT", "LOAD", script.text)) != self._sha:
            raise AssertionError(f"the script is refused: {answer}")

    def flush(self) -> None:
        """Forget all data; a new server."""
        self.ask("FLUSHALL")
        self._looks, self._records = {}, {}
        self._last = ([], Seen())
        self.run_id = 1

    def copy(self, source: int, target: int) -> None:
        """Make a database the same as another one."""
        self.ask("EVAL", _COPY, "0", str(source), str(target))

    def _looks_at(self, jobs: Sequence[str]) -> tuple[bytes, int]:
        for job in jobs:
            if job not in self._looks:
                self._looks[job] = _packed(("HMGET", f"job:{job}", *_FIELDS))
        return b"".join((self._look, *(self._looks[job] for job in jobs))), len(_LOOK) + len(jobs)

    def call(
        self, now_us: int, arguments: Sequence[str | int], jobs: Sequence[str], *, full: bool = False
    ) -> tuple[Any, Seen]:
        """Run a transition, then look; its answer may be an error. `full`: Redis is out of memory."""
        looks, count = self._looks_at(jobs)
        run = _packed(("EVALSHA", self._sha, "0", *map(str, arguments)))
        now = _packed(("SET", "now", str(now_us)))
        if full:
            _, _, answer, _, *look = self._exchange(b"".join((now, _FULL, run, _FREE, looks)), 4 + count)
        else:
            _, answer, *look = self._exchange(b"".join((now, run, looks)), 2 + count)
        return answer, self._seen(look, jobs)

    def ask(self, *command: str) -> Any:  # noqa: ANN401  # whatever Redis answers
        """One command; its answer, which may be an error."""
        return self._exchange(_packed(command), 1)[0]

    def _exchange(self, sent: bytes, count: int) -> list[Any]:
        self._socket.sendall(sent)
        answers: list[Any] = []
        while len(answers) < count:
            answer = self._reader.gets()
            if answer is False:
                self._reader.feed(self._socket.recv(1 << 16))
            else:
                answers.append(answer)
        return answers

    def _seen(self, look: list[Any], jobs: Sequence[str]) -> Seen:
        """What is as it was is the same object."""
        if look == self._last[0]:
            return self._last[1]
        held, paused_until, outbox, *rest = look
        count = len(QUEUES)
        backlogs, delayed, values = rest[:count], rest[count : 2 * count], rest[2 * count :]
        found = {
            job: self._record(job, read)
            for job, read in zip(jobs, values, strict=True)
            if read[0] is not None
        }
        seen = Seen(
            credits={held[i]: int(float(held[i + 1])) for i in range(0, len(held), 2)},
            paused_until=int(float(paused_until or 0)),
            outbox=tuple(outbox),
            backlog=dict(zip(QUEUES, map(tuple, backlogs), strict=True)),
            delayed=dict(zip(QUEUES, map(tuple, delayed), strict=True)),
            records=found,
        )
        self._last = (look, seen)
        return seen

    def _record(self, job: str, read: list[Any]) -> Record:
        known = self._records.get(job)
        if known is None or known[0] != read:
            fields: dict[str, Any] = {
                name: int(float(value)) if name in _NUMBERS else value
                for name, value in zip(_FIELDS, read, strict=True)
                if value is not None
            }
            known = self._records[job] = (read, Record(**fields))
        return known[1]


def _packed(command: Sequence[str]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub says a tuple of one
    return packed


_FULL, _FREE = (_packed(("CONFIG", "SET", "maxmemory", limit)) for limit in ("1", "0"))
