"""What is being started, on one line: it moves on a terminal, and is a line for each step elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from mochi.terminal import clean, tell

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["Starting"]


class Starting:
    """Use it as a context manager around the start. Writes to standard error."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.status import Status

            console = Console(stderr=True, markup=False, emoji=False, highlight=False)
            self._status = Status("", console=console)
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def show(self, text: str) -> None:
        """This is being started now."""
        if self._status is None:
            tell(clean(text))
        else:
            self._status.update(clean(text))

    def tell(self, line: str) -> None:
        """A line that stays."""
        if self._status is None:
            tell(clean(line))
        else:
            self._status.console.print(clean(line))

    def done(self) -> None:
        """Everything is started: the line goes."""
        if self._status is not None:
            self._status.stop()
            self._status = None
