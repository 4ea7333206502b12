"""`mochi up`: the whole system on this machine, until Ctrl-C.

Results go to standard output (the table, then `ready: URL`), everything else to standard error.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local.api_address import ApiAddress
from local.errors import CannotStart
from local.pauses import GrowingPause
from local.plan import Plan
from local.signals import run as run_until_signal
from local.system import System, Wanted, running
from mochi.terminal import clean, say, tell

__all__ = ["run"]


def run(
    host: str,
    port: int,
    data_dir: Path,
    pause: Callable[[], GrowingPause] = GrowingPause,
    changed: Callable[[Plan], Plan] = lambda plan: plan,
) -> int:
    """Run the system until a signal ends it; the exit code: 0 then, 1 where it could not start.

    `pause` makes, for each process, what it waits before it is started again; `changed` has the last word on
    what is started, and may put something between the processes.
    """
    address = ApiAddress(host, port)
    wanted = Wanted(address, data_dir, dict(os.environ), f"mochi up at {address.url}", changed)
    ended = run_until_signal(_up(wanted, pause))
    return 0 if ended.code is None else ended.code


async def _up(wanted: Wanted, pause: Callable[[], GrowingPause]) -> int:
    stopping = False
    try:
        async with running(wanted, tell=_tell, starting=_tell, pause=pause) as system:
            try:
                _show(system, wanted.address)
                await asyncio.Event().wait()  # until a signal cancels us
            finally:
                stopping = True
                _tell("stopping")
    except CannotStart as error:
        _tell(f"error: {error}")
        return 1
    finally:
        if stopping:
            _tell("stopped")
    return 0


def _tell(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone is no reason to leave processes behind
        tell(clean(line))


def _show(system: System, address: ApiAddress) -> None:
    rows = [("process", "address", "log")]
    rows += [(p.name, p.address, _short(p.log)) for p in system.programs]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, place, log in rows:
        say(clean(f"{name:<{widths[0]}}  {place:<{widths[1]}}  {log}"))
    if address.public:
        _tell("note: other machines can reach this API, and nothing asks them who they are")
    say(f"ready: {system.url}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
