"""Live progress on standard error: a bar on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from mochi.models import Event, Job
from mochi.terminal import clean, seconds, tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["LiveBar", "LiveLines", "View", "view"]


class View(Protocol):
    """Shows how a job goes on, between `with` and its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def waiting(self, job: Job) -> None:
        """The job stands in its queue."""

    def changed(self, event: Event) -> None:
        """The job went on."""

    def downloading(self, done: int, total: int) -> None:
        """So many bytes of the video are here."""


def view() -> View:
    """The view for where standard error goes."""
    return LiveBar() if sys.stderr.isatty() else LiveLines()


class LiveLines:
    """A line for each change of status or phase: for logs, where a bar is noise."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def waiting(self, job: Job) -> None:
        """A line when the position changes."""
        self._line(
            f"{job.status}, waiting", f", {job.position} before it" if job.position is not None else ""
        )

    def changed(self, event: Event) -> None:
        """A line when status or phase changes."""
        self._line(_words(event))

    def downloading(self, done: int, total: int) -> None:  # noqa: ARG002 - a line does not move
        """One line, at the beginning."""
        self._line(f"downloading {_size(total)}")

    def _line(self, text: str, more: str = "") -> None:
        if text + more != self._last:
            self._last = text + more
            tell(clean(text + more))


class LiveBar:
    """One line that moves: status and phase, the bar, step k/n or queue position, the time."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[more]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False),
            refresh_per_second=5,
        )
        self._task: TaskID = self._progress.add_task("…", total=None, more="")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def waiting(self, job: Job) -> None:
        """The queue position and when it starts."""
        more = f"{job.position} before it in {job.queue}" if job.position is not None else ""
        if job.eta_seconds is not None:
            more += f", starts in about {seconds(job.eta_seconds)}"
        self._show(f"{job.status}, waiting", None, 0, more)

    def changed(self, event: Event) -> None:
        """The bar counts denoising steps; the other phases have none and only pulse before the first."""
        total = event.steps or None
        known = total if event.step or event.status.terminal else None
        more = f"step {event.step}/{event.steps}" if event.step and event.steps else ""
        self._show(_words(event), known, event.step, more)

    def downloading(self, done: int, total: int) -> None:
        """The bar counts bytes."""
        self._show("downloading", total, done, f"{_size(done)} of {_size(total)}")

    def _show(self, text: str, total: int | None, done: int, more: str) -> None:
        self._progress.update(
            self._task, description=clean(text), total=total, completed=done, more=clean(more), refresh=True
        )


def _words(event: Event) -> str:
    return f"{event.status}, {event.phase.replace('_', ' ')}" if event.phase else str(event.status)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
