"""The `mochi` command: options in, one call of the client, words or JSON out.

Results go to standard output, everything else to standard error. Exit codes: `mochi.exit_codes`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mochi.errors import InvalidArgument, MochiClientError
from mochi.exit_codes import ExitCode, exit_code_of
from mochi.exit_codes import table as exit_code_table
from mochi.models import Event, Job, Status
from mochi.part_file import check_destination
from mochi.prompts import read_prompt
from mochi.terminal import clean, describe, print_error, print_job, print_jobs, print_json, say, tell
from mochi.version import version

if TYPE_CHECKING:
    from mochi.client import Client
    from mochi.live import View

__all__ = ["app", "main"]

DEMO_PROMPT = "a red circle moving right"


class _Commands(TyperGroup):
    """Every command ends with an exit code that scripts can use, and none with a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context is click's own, wherever that lives
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # `mochi list | head`: typer ends quietly
        except (MochiClientError, OSError) as error:
            print_error(error)
            raise typer.Exit(exit_code_of(error)) from None
        except KeyboardInterrupt:
            tell("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


app = typer.Typer(
    name="mochi",
    cls=_Commands,
    help="Make videos from text: submit jobs to a Mochi Functions server, watch them, fetch what they made.",
    epilog=f"\b\nExit codes:\n{exit_code_table()}",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: fast, and nothing in it is markup
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True)
class _Session:
    """What the options before the command say."""

    url: str | None
    connect: Callable[[str | None], Client]

    @contextmanager
    def client(self) -> Iterator[Client]:
        with self.connect(self.url) as client:
            yield client


def _connect(url: str | None) -> Client:
    from mochi.client import Client

    return Client(url)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"mochi {version()}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(envvar="MOCHI_URL", show_default="http://127.0.0.1:8080", help="Where the API is."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version."),
    ] = False,
) -> None:
    ctx.obj = _Session(url, ctx.obj or _connect)


JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Seconds = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop waiting after it (exit code 6)."),
]
DataDir = Annotated[Path, typer.Option("--data-dir", help="Where everything is kept.")]


@app.command()
def submit(
    ctx: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="What the video shows; - reads standard input.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Read the prompt from a file; - is standard input.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the video must not show.")] = None,
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
    _check(output)
    with _session(ctx).client() as client:
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
        waits = wait or output is not None
        if not as_json:
            say(clean(job.id))
        elif not waits:
            print_json(job.raw)
        if waits:
            _see_through(client, job.id, output, timeout, as_json)
        else:
            tell(f"{describe(job)}; to follow it: mochi watch {clean(job.id)}")


@app.command()
def watch(ctx: typer.Context, job_id: JobId, timeout: Seconds = None, as_json: AsJson = False) -> None:
    """Follow a job to its end. With --json, prints each event on a line of its own."""
    with _session(ctx).client() as client:
        on_event = (lambda event: print_json(event.raw)) if as_json else None
        _see_through(client, job_id, None, timeout, False, on_event)


@app.command(name="list")
def list_jobs(
    ctx: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only jobs with this status.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with _session(ctx).client() as client:
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
    with _session(ctx).client() as client:
        job = client.get(job_id)
    if as_json:
        print_json(job.raw)
    else:
        print_job(job)


@app.command()
def cancel(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """End a job. One that has ended stays as it is."""
    with _session(ctx).client() as client:
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
    from mochi.live import view

    path = output or Path(f"{job_id}.mp4")
    _check(path)
    with _session(ctx).client() as client:
        try:
            with view() as live:
                job = client.download(job_id, path, progress=live.downloading)
        except KeyboardInterrupt:
            _interrupted(f"to go on: mochi download {job_id} -o {path}")
    if as_json:
        print_json({**job.raw, "file": str(path)})
    else:
        say(clean(str(path)))


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the API listens.")] = 8080,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
    data_dir: DataDir = Path(".mochi"),
) -> None:
    """Run the whole system on this machine, until Ctrl-C."""
    raise typer.Exit(_local("up").run(host, port, data_dir))


@app.command()
def demo(
    prompt: Annotated[str, typer.Argument(help="What the video shows.")] = DEMO_PROMPT,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("demo.mp4"),
    data_dir: DataDir = Path(".mochi"),
) -> None:
    """Run the whole system, make one video with it, and stop it again."""
    raise typer.Exit(_local("demo").run(prompt, output, data_dir))


def main() -> None:
    """The entry point."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the last resort: a bug of ours, told in one line
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        tell(f"error: mochi has a bug: {clean(f'{type(error).__name__}: {error}')} ({place})")
        sys.exit(ExitCode.BROKEN)


def _session(ctx: typer.Context) -> _Session:
    session: _Session = ctx.obj
    return session


def _check(output: Path | None) -> None:
    try:
        if output is not None:
            check_destination(output)
    except OSError as error:
        problem = f"{output}: {error.strerror}"
        raise InvalidArgument("--output", problem, "a file in a folder that can be written to") from None


def _see_through(
    client: Client,
    job_id: str,
    output: Path | None,
    timeout: float | None,
    as_json: bool,
    on_event: Callable[[Event], None] | None = None,
) -> None:
    """Follow a job, fetch its video if one is wanted, print it. Raises JobFailed and JobCancelled."""
    from mochi.live import view

    try:
        with view() as live:
            job = _end(client, job_id, output, timeout, live, on_event)
    except KeyboardInterrupt:
        _interrupted(
            f"job {job_id} goes on; to follow it: mochi watch {job_id}; to end it: mochi cancel {job_id}"
        )
    if as_json:
        print_json({**job.raw, "file": str(output)} if output and job.video else job.raw)
    elif output and job.video:
        tell(f"{describe(job)}: {clean(str(output))}")
    elif job.video:
        tell(f"{describe(job)}; to fetch the video: mochi download {clean(job.id)}")
    from mochi.watching import finished

    finished(job)


def _end(
    client: Client,
    job_id: str,
    output: Path | None,
    timeout: float | None,
    live: View,
    on_event: Callable[[Event], None] | None,
) -> Job:
    from mochi.follow import follow

    job = follow(client, job_id, live, timeout, on_event)
    if output is not None and job.video is not None:
        client.download(job_id, output, progress=live.downloading)
    return job


def _interrupted(advice: str) -> NoReturn:
    tell(f"interrupted: {clean(advice)}")
    raise typer.Exit(ExitCode.INTERRUPTED) from None


def _local(name: str) -> Any:  # noqa: ANN401 - a module of the package `local`, which may be incomplete
    try:
        return import_module(f"local.{name}")
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            f"mochi {name}",
            f"runs the whole system, and a part of it is not installed ({error.name})",
            "after pip install 'mochi-functions[local]'",
        ) from None
