"""The one table that every benchmark prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "milliseconds", "show"]


@dataclass(frozen=True)
class Row:
    """One number."""

    what: str
    measure: str
    value: str
    aim: str = ""


def milliseconds(seconds: float) -> str:
    """For people: 1.23 ms."""
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.1f} ms"


def show(rows: Iterable[Row]) -> None:
    """Print as Markdown, each row as soon as it is known."""
    print("| what | measure | value | aim |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.measure} | {row.value} | {row.aim} |")
        sys.stdout.flush()
