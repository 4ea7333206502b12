"""Running other programs: long ones into a log, whose end is shown when one fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SetupError", "install", "logged", "output", "say", "timed"]

_SHOWN = 30  # last lines of a log


class SetupError(Exception):
    """What the person at the terminal must hear, and no stack trace."""


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says what was done, and in how many seconds, once it is done."""
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.0f} s")


def output(*argv: str | Path, given: str | None = None) -> str:
    """What a program prints. Raises SetupError with what it said on its error output."""
    done = subprocess.run(
        argv,
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"{_named(argv)} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def logged(log: Path, *argv: str | Path, environ: Mapping[str, str] | None = None) -> None:
    """Run a program that takes long, its output in a file. Raises SetupError with the file's last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})},
            check=False,
        )
    if done.returncode != 0:
        lines = log.read_text("utf-8", "replace").splitlines()[-_SHOWN:]
        raise SetupError("\n".join([f"{_named(argv)} failed; all of it is in {log}:", *lines]))


def install(*programs: str) -> None:
    """Debian packages that are named as their programs are. Raises SetupError where they cannot be had."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"{' and '.join(missing)}: not installed; Debian and Ubuntu have packages of that name"
        )
    output("apt-get", "update", "-qq")
    options = ("-y", "-qq", "--no-install-recommends")
    output("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *options, *missing)


def _named(argv: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in argv[:3])
