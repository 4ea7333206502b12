"""The log files of the processes: where they begin, how large they grow, and why a process ended."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

__all__ = ["keep_small", "last_reason", "rotate", "turn_over"]

#: Bytes past which a log file is put aside; the one before it is dropped.
LIMIT = 10_000_000
#: Bytes at the end of a log in which the reason is looked for.
_TAIL = 16_384
#: Characters of a reason that are shown.
_WIDEST = 400


def rotate(log: Path) -> None:
    """Put a large log file aside as NAME.log.1."""
    if log.exists() and log.stat().st_size > LIMIT:
        log.replace(log.with_name(log.name + ".1"))


def turn_over(log: Path) -> None:
    """The same for a process that goes on writing (what it writes within these milliseconds is lost)."""
    if log.exists() and log.stat().st_size > LIMIT:
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)  # it appends, and so goes on at the beginning


async def keep_small(logs: Iterable[Path], every: float = 60.0) -> NoReturn:
    """Turn over those that have grown large, again and again; until it is cancelled."""
    while True:
        await asyncio.sleep(every)
        for log in logs:
            with suppress(OSError):  # no room for the copy: then there is none for more lines either
                await asyncio.to_thread(turn_over, log)


def last_reason(log: Path, since: int = 0) -> str:
    """Why the process that wrote this log from byte `since` on ended, in one line; empty if it did not say.

    Structured lines say it in `reason` (or in `event`, as an error); else it is the last line.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since if since <= size else 0, size - _TAIL))  # it may have been turned over
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    words = [line.strip() for line in lines if line.strip()]
    for line in reversed(words):
        if reason := _structured(line):
            return _short(reason)
    plain = [line for line in words if not line.startswith("{")]
    return _short(plain[-1]) if plain else ""


def _structured(line: str) -> str:
    if not line.startswith("{"):
        return ""
    try:
        fact = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(fact, dict) or fact.get("level") not in ("error", "critical"):
        return ""
    return str(fact.get("reason") or fact.get("event") or "")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
