"""What the command line prints, apart from live progress: text that is safe on any terminal.

Whatever came from a user or a server goes through `clean` (control characters are shown, not sent) and
reaches rich only as plain text (its markup is shown, not interpreted).
"""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from mochi.errors import ApiError, FieldProblem, InvalidArgument
from mochi.models import Job

__all__ = ["clean", "describe", "print_error", "print_job", "print_jobs", "print_json", "say", "tell"]

#: Where the command's option is not called as the API's field.
_OPTIONS = {
    "duration_seconds": "--duration",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "num_frames": "--num-frames",
    "MOCHI_URL": "--url",
}
#: Columns of a table where the output is no terminal.
_WIDE = 160


def clean(text: str) -> str:
    """Text of one line in which every control, format and unpaired surrogate character is spelled out."""
    return "".join(_spelled(c) if unicodedata.category(c) in _SPELLED else c for c in text)


#: Control, format (which includes what turns the writing direction), surrogate, line and paragraph separator.
_SPELLED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def say(text: str) -> None:
    """A line on standard output: what was asked for."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """A line on standard error: what happens meanwhile."""
    _write(sys.stderr, text)


def _write(stream: Any, text: str) -> None:  # noqa: ANN401 - TextIO, or what a test puts there
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def print_json(value: object) -> None:
    """One JSON document on one line of standard output, in ASCII."""
    say(json.dumps(value, separators=(",", ":")))


def print_error(error: Exception) -> None:
    """`error: …` on standard error, a line for each wrong field."""
    fields: tuple[FieldProblem, ...] = ()
    if isinstance(error, ApiError):
        fields = error.errors
    elif isinstance(error, InvalidArgument):
        fields = (error.error,)
    for line in [_with_option(f) for f in fields] or [str(error) or type(error).__name__]:
        tell(f"error: {clean(line)}")


def _with_option(problem: FieldProblem) -> str:
    option = _OPTIONS.get(problem.field)
    field = f"{problem.field} ({option})" if option else problem.field
    return str(FieldProblem(field, problem.problem, problem.allowed))


def describe(job: Job) -> str:
    """Where a job stands, in a few words."""
    words = [str(job.status)]
    if job.phase:
        words.append(job.phase.replace("_", " "))
    if job.phase == "denoising":
        words.append(f"step {job.step} of {job.steps}")
    if job.position is not None:
        words.append(f"{job.position} before it in {job.queue}")
    if job.eta_seconds is not None:
        words.append(f"starts in about {seconds(job.eta_seconds)}")
    if job.cancel_requested and not job.ended:
        words.append("cancel requested")
    return clean(", ".join(words))


def seconds(value: float) -> str:
    """A duration as people read it: 8.3 s, 2 min 05 s, 1 h 10 min."""
    if value < 60:
        return f"{max(value, 0.0):.1f} s"
    minutes, rest = divmod(round(min(value, 1e9)), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def print_jobs(jobs: Iterable[Job]) -> None:
    """A table of jobs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "status", "queue", "progress", "created"):
        table.add_column(name, no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis")
    for job in jobs:
        cells = (
            job.id,
            job.status,
            job.queue,
            _progress(job),
            _time(job.created_at),
            job.request.prompt,
        )
        table.add_row(*(Text(clean(str(cell))) for cell in cells))
    # Into a string first: rich would end the process by itself where the reader has gone away.
    on_terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), force_terminal=on_terminal, width=None if on_terminal else _WIDE, highlight=False
    )
    with console.capture() as captured:
        console.print(table)
    say(captured.get().rstrip("\n"))


def _progress(job: Job) -> str:
    if job.ended:
        return ""
    return f"{job.step}/{job.steps}" if job.phase == "denoising" else (job.phase or "").replace("_", " ")


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if moment else "-"


def print_job(job: Job) -> None:
    """Every field of a job, its attempts, and its milestones with how long each lasted."""
    rows: dict[str, object] = {"job": job.id, "status": describe(job)}
    if job.error:
        rows["error"] = f"{job.error.message} ({job.error.code})"
    rows |= {"queue": job.queue, "attempt": job.attempt, "progress": f"{job.progress:.0%}"}
    rows |= {"steps": f"{job.step} of {job.steps}"}
    rows |= {
        f"{name}": _time(getattr(job, f"{name}_at")) for name in ("created", "started", "finished", "updated")
    }
    if job.video:
        rows |= {"video": job.video.s3_url, "bytes": job.video.bytes, "etag": job.video.etag}
    rows |= _request_rows(job)
    rows["version"] = job.version
    width = max(map(len, rows))
    for name, value in rows.items():
        say(f"{name:<{width}}  {clean(str(value))}")
    if job.attempts:
        say("attempts")
        for line in _attempts(job):
            say(f"  {clean(line)}")
    say("milestones")
    for line in _milestones(job):
        say(f"  {clean(line)}")


def _request_rows(job: Job) -> Mapping[str, object]:
    asked = job.request
    return {
        "prompt": asked.prompt,
        "negative": asked.negative_prompt or "-",
        "size": f"{asked.width}x{asked.height}",
        "length": f"{asked.num_frames} frames at {asked.fps} fps, {asked.duration_seconds:.2f} s",
        "guidance": f"{asked.guidance_scale:g}",
        "seed": asked.seed,
        "deadline": _time(asked.deadline),
    }


def _attempts(job: Job) -> Iterable[str]:
    """A table: how long each attempt worked, from which step to which, why it ended, and where."""
    rows = [("attempt", "started", "took", "steps", "ended", "slot")]
    for attempt in job.attempts:
        took = "now"
        if attempt.started_at and attempt.ended_at:
            took = seconds((attempt.ended_at - attempt.started_at).total_seconds())
        steps = f"{attempt.first_step}-{attempt.last_step} of {job.steps}"
        ended = attempt.ended or "at work"
        rows.append((str(attempt.attempt), _time(attempt.started_at), took, steps, ended, attempt.slot))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _milestones(job: Job) -> Iterable[str]:
    followers = [*job.milestones[1:], None]
    for milestone, follower in zip(job.milestones, followers, strict=True):
        name = (milestone.phase or milestone.status).replace("_", " ")
        lasted = ""
        if milestone.at and follower and follower.at:
            lasted = seconds((follower.at - milestone.at).total_seconds())
        elif not job.ended:
            lasted = "now"
        yield f"{_time(milestone.at)}  attempt {milestone.attempt}  {name:<16}  {lasted}".rstrip()
