"""What every `mochi` command shares: the options before it, the client, and how it ends.

Results go to standard output, everything else to standard error. Exit codes: `mochi.exit_codes`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mochi.errors import InvalidArgument, MochiClientError
from mochi.exit_codes import ExitCode, exit_code_of
from mochi.exit_codes import table as exit_code_table
from mochi.part_file import check_destination
from mochi.terminal import print_error, say, tell
from mochi.version import version

if TYPE_CHECKING:
    from mochi.client import Client

__all__ = ["Session", "app", "check_output"]


class _Commands(TyperGroup):
    """Every command ends with an exit code that scripts can use, and none with a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context is click's own, wherever that lives
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `mochi list | head`
            _forget_output()
            raise typer.Exit(ExitCode.BROKEN_PIPE) from None
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
class Session:
    """What the options before the command say."""

    url: str | None

    def client(self) -> Client:
        """A client, to be closed. Raises InvalidArgument."""
        from mochi.client import Client

        return Client(self.url)

    @classmethod
    def of(cls, ctx: typer.Context) -> Session:
        """That of a command."""
        session: Session = ctx.obj
        return session


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
    ctx.obj = Session(url)


def check_output(output: Path | None) -> None:
    """Raise InvalidArgument if the file cannot be written: better now than after the video is made."""
    try:
        if output is not None:
            check_destination(output)
    except OSError as error:
        problem = f"{output}: {error.strerror}"
        raise InvalidArgument("--output", problem, "a file in a folder that can be written to") from None


def _forget_output() -> None:
    """What is still in the buffers would otherwise be written, and fail again, as the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
