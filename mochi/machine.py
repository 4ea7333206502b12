"""`mochi up` and `mochi demo`: the whole system on this machine. The one importer of `local`, when asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mochi.app import app, check_output
from mochi.errors import InvalidArgument

__all__ = ["demo", "up"]

DEMO_PROMPT = "a red circle moving right"
DataDir = Annotated[Path, typer.Option("--data-dir", help="Where everything is kept.")]


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the API listens.")] = 8080,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
    data_dir: DataDir = Path(".mochi"),
) -> None:
    """Run the whole system on this machine, until Ctrl-C."""
    with _installed("up"):
        from local.up import run

        code = run(host, port, data_dir)
    raise typer.Exit(code)


@app.command()
def demo(
    prompt: Annotated[str, typer.Argument(help="What the video shows.")] = DEMO_PROMPT,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("demo.mp4"),
    data_dir: DataDir = Path(".mochi"),
) -> None:
    """Run the whole system, make one video with it, and stop it again."""
    check_output(output)
    with _installed("demo"):
        from local.demo import run

        code = run(prompt, output, data_dir)
    raise typer.Exit(code)


@contextmanager
def _installed(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            f"mochi {name}",
            f"runs the whole system, and a part of it is not installed ({error.name})",
            "after pip install 'mochi-functions[local]'",
        ) from None
