"""`mochi demo`: the whole system, one video made with it, and the system stopped again.

The video's path and how long everything took go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx

from jobs.errors import InvalidRequest
from jobs.profile import shipped_profile
from jobs.request import parse_request
from jobs.settings import DEFAULT_MODEL
from local.api_address import ApiAddress
from local.embedded import free_range
from local.errors import CannotStart
from local.progress import Starting
from local.signals import run as run_until_signal
from local.system import System, Wanted, running
from local.timings import Timings, phases
from local.video_check import Expected, WrongVideo, check_video
from mochi.async_client import AsyncClient
from mochi.errors import MochiClientError
from mochi.exit_codes import ExitCode, exit_code_of
from mochi.live import View, view
from mochi.models import Job
from mochi.terminal import clean, describe, print_error, say, tell
from mochi.watching import finished

__all__ = ["run"]

#: Seconds that the server has to cancel the job of a demo that is interrupted.
_CANCEL_SECONDS = 1.0

_LONGEST_PROMPT = 120  # characters that are shown of it


def run(prompt: str, output: Path, data_dir: Path) -> int:
    """Make a video of `prompt` and write it to `output`; the exit code, 0 only if the video is right.

    The command line has checked that `output` can be written.
    """
    try:
        _check_prompt(prompt)
    except InvalidRequest as error:
        for wrong in error.errors:
            tell(f"error: {clean(f'{wrong.field}: {wrong.problem} (allowed: {wrong.allowed})')}")
        return ExitCode.BAD_REQUEST
    ended = run_until_signal(_demo(prompt, output.absolute(), data_dir, dict(os.environ)))
    if ended.code is not None:
        return ended.code
    tell("interrupted")
    return 128 + (ended.signal or signal.SIGINT)


def _check_prompt(prompt: str) -> None:
    # A prompt's rules are the same for every model, so any profile will do here.
    profile = shipped_profile(DEFAULT_MODEL)
    if profile is None:
        raise AssertionError("the default model's profile is missing")
    parse_request({"prompt": prompt}, profile, ())


async def _demo(prompt: str, output: Path, data_dir: Path, environ: Mapping[str, str]) -> int:
    timings = Timings()
    try:
        await _made(prompt, output, data_dir, environ, timings)
    except CannotStart as error:
        tell(f"error: {clean(str(error))}")
        return 1
    except MochiClientError as error:
        print_error(error)
        return exit_code_of(error)
    except WrongVideo as error:
        tell(f"error: the video is not the one that was asked for: {clean(str(error))}")
        return ExitCode.BROKEN
    except OSError as error:
        tell(f"error: {clean(f'{error.filename or output}: {error.strerror or error}')}")
        return ExitCode.BROKEN
    say(clean(str(output)))
    for line in timings.lines():
        say(f"  {line}")
    return 0


async def _made(
    prompt: str, output: Path, data_dir: Path, environ: Mapping[str, str], timings: Timings
) -> None:
    address = ApiAddress("127.0.0.1", free_range(1))
    wanted = Wanted(address, data_dir, environ, f"mochi demo at {address.url}")
    with timings.measured("all of it"), Starting() as starting:
        up = AsyncExitStack()
        try:
            with timings.measured("start"):
                system = await up.enter_async_context(running(wanted, starting.tell, starting.show))
            starting.done()
            await _video(system, prompt, output, timings, proxied="AWS_S3_ENDPOINT" in environ)
        finally:
            with timings.measured("stop"):
                await up.aclose()


async def _video(system: System, prompt: str, output: Path, timings: Timings, proxied: bool) -> None:
    # What we started is on loopback; only a user's own object store may be behind a proxy.
    transport = None if proxied else httpx.AsyncHTTPTransport()
    file = system.folder.temporary / "demo.mp4"
    async with AsyncClient(system.url, transport=transport) as client:
        job = await client.submit(prompt)
        with view() as live:
            try:
                job = finished(await _followed(client, job, live))
                timings.rows += phases(job.milestones)
                with timings.measured("download"):
                    await client.download(job.id, file, progress=live.downloading)
            except asyncio.CancelledError:
                await _cancelled(client, job)
                raise
    asked = job.request
    expected = Expected(asked.width, asked.height, asked.num_frames, asked.fps)
    with timings.measured("check"):
        await asyncio.to_thread(check_video, file, expected)
    tell(f"{describe(job)}: {_quoted(asked.prompt)}, {expected}")
    _put(file, output)


def _quoted(prompt: str) -> str:
    shown = clean(prompt)
    return f'"{shown}"' if len(shown) <= _LONGEST_PROMPT else f'"{shown[:_LONGEST_PROMPT]} …"'


async def _followed(client: AsyncClient, job: Job, live: View) -> Job:
    """The job, ended, shown as it goes on."""
    live.waiting(job)
    async for event in client.watch(job.id):
        live.changed(event)
    return await client.get(job.id)


async def _cancelled(client: AsyncClient, job: Job) -> None:
    """Nobody waits for the video any more: the next start is not to go on with it."""
    with suppress(MochiClientError, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await client.cancel(job.id)


def _put(file: Path, output: Path) -> None:
    """In one step, so that what was there is replaced by a whole video or not at all. Raises OSError."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(file, part)
        with part.open("rb+") as copied:
            os.fsync(copied.fileno())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
