"""The `mochi` command: options in, one call of the client, words or JSON out.

The entry point; `mochi.app` has what all commands share, `mochi.machine` has up and demo.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

import mochi.machine as _up_and_demo  # noqa: F401 - importing it adds its commands to the app
from mochi.app import Session, app, check_output
from mochi.errors import InvalidArgument
from mochi.exit_codes import ExitCode
from mochi.follow import interrupted, print_events, see_through
from mochi.live import view
from mochi.models import Status
from mochi.prompts import read_prompt
from mochi.terminal import clean, describe, print_job, print_jobs, print_json, say, tell

__all__ = ["app", "main"]

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Seconds = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop waiting after it (exit code 6)."),
]


@app.command()
def submit(
    ctx: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="What the video shows; - reads standard input.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Read the prompt from a file; - is standard input.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What the video must not show; else the model's own.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Pixels, a multiple of 16.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, a multiple of 16.")] = None,
    num_frames: Annotated[int | None, typer.Option(help="6k+1; not with --duration.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds; not with --num-frames.")] = None,
    quality: Annotated[str | None, typer.Option(help="low, medium or high; not with --steps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; not with --quality.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same video.")] = None,
    queue: Annotated[str | None, typer.Option(help="The class of work; chosen where absent.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="When it is of no use any more, e.g. 2030-01-31T12:00:00Z.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request make one job, however often sent.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the job.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Wait, then write the video to this file.")
    ] = None,
    timeout: Seconds = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a video. Prints the job's id, or the job with --json."""
    text = read_prompt(prompt, file)
    check_output(output)
    waits = wait or output is not None
    if timeout is not None and not waits:
        raise InvalidArgument("--timeout", "there is nothing to wait for", "together with --wait or --output")
    with Session.of(ctx).client() as client:
        job = client.submit(
            text,
            idempotency_key=idempotency_key,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            num_frames=num_frames,
            duration_seconds=duration,
            quality=quality,
            num_inference_steps=steps,
            guidance_scale=guidance,
            seed=seed,
            queue=queue,
            deadline=deadline,
        )
        if not as_json:
            say(clean(job.id))
        elif not waits:
            print_json(job.raw)
        if waits:
            see_through(client, job.id, output, timeout, as_json)
        else:
            tell(f"{describe(job)}; to follow it: mochi watch {clean(job.id)}")


@app.command()
def watch(ctx: typer.Context, job_id: JobId, timeout: Seconds = None, as_json: AsJson = False) -> None:
    """Follow a job to its end. With --json, prints each event on a line of its own."""
    with Session.of(ctx).client() as client:
        if as_json:
            print_events(client, job_id, timeout)
        else:
            see_through(client, job_id, None, timeout, False)


@app.command(name="list")
def list_jobs(
    ctx: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only jobs with this status.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Session.of(ctx).client() as client:
        jobs = list(client.list(status=status, queue=queue, limit=limit))
    if as_json:
        print_json([job.raw for job in jobs])
    elif jobs:
        print_jobs(jobs)
    else:
        tell("no jobs")


@app.command()
def show(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show everything about a job, with how long each phase took."""
    with Session.of(ctx).client() as client:
        job = client.get(job_id)
    if as_json:
        print_json(job.raw)
    else:
        print_job(job)


@app.command()
def cancel(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """End a job. One that has completed or failed stays as it is (exit code 7)."""
    with Session.of(ctx).client() as client:
        job = client.cancel(job_id)
    if as_json:
        print_json(job.raw)
    elif job.ended:
        say(f"job {clean(job.id)} is {job.status}")
    else:
        say(f"job {clean(job.id)} is {job.status}: it ends at its next step")


@app.command()
def download(
    ctx: typer.Context,
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write.", show_default="ID.mp4")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the video of a completed job. Goes on where an interrupted download stopped."""
    path = output or Path(f"{job_id}.mp4")
    check_output(path)
    with Session.of(ctx).client() as client:
        try:
            with view() as live:
                job = client.download(job_id, path, progress=live.downloading)
        except KeyboardInterrupt:
            interrupted(f"to go on: mochi download {job_id} -o {path}")
    if as_json:
        print_json({**job.raw, "file": str(path)})
    else:
        say(clean(str(path)))


def main() -> None:
    """The entry point."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the last resort: a bug of ours, told in one line
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        tell(f"error: mochi has a bug: {clean(f'{type(error).__name__}: {error}')} ({place})")
        sys.exit(ExitCode.BROKEN)
