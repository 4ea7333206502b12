"""Makes the faults of a plan happen, each at its time, and ends them."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import psutil

from tests.chaos.plan import Fault, Kind
from tests.chaos.rig import Rig

__all__ = ["Faults"]


@dataclass
class Faults:
    """What was done: how often each fault hit, and how often its target was not there to be hit."""

    rig: Rig
    hit: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    missed: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)  # of processes that the supervisor keeps

    def run(self, faults: Sequence[Fault], since: float) -> None:
        """All of them; returns when the last one is over. `since`: time.monotonic() of the start."""
        number = count()
        agenda: list[tuple[float, int, Callable[[], None]]] = []
        for fault in faults:
            heappush(agenda, (fault.at, next(number), lambda fault=fault: begin(fault)))  # type: ignore[misc]

        def begin(fault: Fault) -> None:
            undo = self._begin(fault)
            if undo is None:
                self.missed[fault.kind, fault.target] += 1
                return
            self.hit[fault.kind, fault.target] += 1
            if fault.seconds:
                heappush(agenda, (fault.at + fault.seconds, next(number), undo))

        while agenda:
            at, _, action = heappop(agenda)
            time.sleep(max(0.0, since + at - time.monotonic()))  # the plan says when
            action()

    def _begin(self, fault: Fault) -> Callable[[], None] | None:
        """What ends the fault; None where there was nothing to hit."""
        if proxy := self.rig.proxies.get(fault.target):
            match fault.kind:
                case Kind.CUT:
                    proxy.cut()
                case Kind.REFUSE:
                    proxy.refuse()
                case Kind.SILENCE:
                    proxy.silence()
                case _:
                    proxy.delay(fault.delay)
            return proxy.restore
        if server := self.rig.servers.get(fault.target):
            if fault.kind is Kind.STOP:
                return (lambda: _ignore(server.send(signal.SIGCONT))) if server.send(signal.SIGSTOP) else None
            number = signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGTERM
            return server.start if server.send(number) else None
        return self._begin_with_process(fault)

    def _begin_with_process(self, fault: Fault) -> Callable[[], None] | None:
        process = self.rig.process(fault.target)
        if process is None:
            return None
        try:
            process.send_signal(signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGSTOP)
        except psutil.NoSuchProcess:
            return None
        if fault.kind is Kind.KILL:
            self.kills[fault.target] += 1

        def go_on() -> None:
            with suppress(psutil.NoSuchProcess):  # it was killed while it was stopped
                process.send_signal(signal.SIGCONT)

        return go_on


def _ignore(_: object) -> None:
    return None
