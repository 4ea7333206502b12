"""Ends the processes of `mochi up` when that was killed and cannot do it.

A process of its own, run as a script (`python -I -S guardian.py`), so the standard library is all it
knows. Standard input is a pipe whose other end only `mochi up` holds; its end means that `mochi up` is
gone. Until then each line says which process groups there are, and which files they leave behind:

    start GROUP | end GROUP | litter PATH
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["main"]

#: Seconds that the processes have to end by themselves before they are killed.
_PATIENCE = 2.0


def main(commands: BinaryIO) -> None:
    """Take note of what is said; when nobody is there to say more, end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its pipe, and not before
    groups: set[int] = set()
    litter: list[Path] = []
    for line in commands:
        if not line.endswith(b"\n"):
            break  # cut off in the middle: 12 of 123
        word, _, rest = os.fsdecode(line.rstrip(b"\n")).partition(" ")
        if word == "start":
            groups.add(int(rest))
        elif word == "end":
            groups.discard(int(rest))
        elif word == "litter":
            litter.append(Path(rest))
    _end(groups)
    if groups:  # else `mochi up` ended them, and cleaned up
        for path in litter:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _end(groups: Iterable[int]) -> None:
    alive = [group for group in groups if _signal(group, signal.SIGTERM)]
    deadline = time.monotonic() + _PATIENCE
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)  # they are no children of ours: nothing tells when they end
        alive = [group for group in alive if _signal(group, 0)]
    for group in alive:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether there was such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return number != 0  # macOS says so of a group in which all are zombies
    return True


if __name__ == "__main__":
    main(sys.stdin.buffer)
