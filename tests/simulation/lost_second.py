"""A power cut under `appendfsync everysec`: Redis comes back as it was at some time within its last second.

What Redis has decided since is gone, and with it what the log noted of it. What was done outside stays:
events that were published, objects that were stored, leases that their holders believe in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.simulation.link import Link, Seen
from tests.simulation.log import Books, Log

__all__ = ["LostSecond"]

_KEPT = 8  # states; each is in a database of its own
_SECOND = 1_000_000  # µs
#: What these do, if anything, is told again by whoever asks again.
_READS = frozenset({"due", "get", "stats", "find", "list", "boot"})


@dataclass(frozen=True)
class _State:
    at_us: int
    database: int
    seen: Seen
    books: Books


class LostSecond:
    """The states of one run's last second."""

    def __init__(self, link: Link, log: Log) -> None:
        self._link, self._log = link, log
        self._states: deque[_State] = deque(maxlen=_KEPT)
        self._count = 0

    def keep(self, transition: str, now_us: int, seen: Seen) -> None:
        """Before a transition: the state that a power cut may bring back."""
        if transition in _READS:
            return
        database = 1 + self._count % _KEPT
        self._count += 1
        self._link.copy(0, database)
        self._states.append(_State(now_us, database, seen, self._log.books.copy()))

    def lose(self, now_us: int, seen: Seen, choose: float) -> Seen:
        """The power is cut. `choose`: from 0 to 1, how far back Redis goes. What is seen afterwards."""
        states = [state for state in self._states if state.at_us >= now_us - _SECOND]
        self._states.clear()
        if not states:
            return seen
        state, log = states[int(choose * len(states))], self._log
        self._link.copy(state.database, 0)
        log.shaken |= {job for job in seen.records if seen.records[job] != state.seen.records.get(job)}
        kept = {grant.token for grants in state.books.grants.values() for grant in grants}
        for grants in log.books.grants.values():
            log.forgotten.update({grant.token: now_us for grant in grants if grant.token not in kept})
        log.books = state.books
        return state.seen
