"""`python -m bench [imports] [idle] [latency] [submit] [--url URL]`: all parts, or those that are named.

With `--url` only `submit` runs, against the server there, whatever it is built with. Everything else runs
on a `mochi up` of its own, with the model that does nothing.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench import latency, processes, submitting
from bench.table import Row, show
from tests.e2e.system import mochi_up

PARTS = ("imports", "idle", "latency", "submit")
#: The backlog of a benchmark is longer than any that a person wants.
ENVIRON = {"MODEL_NAME": "none", "MOCHI_BACKLOG_LIMIT": "1000000", "MOCHI_LOG_FORMAT": "json"}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them where none is named")
    parser.add_argument("--url", help="measure submit on this server")
    asked = parser.parse_args()
    print(f"{psutil.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}\n")
    if asked.url:
        show(submitting.measure(asked.url))
    else:
        show(_rows(asked.parts or PARTS))


def _rows(parts: Sequence[str]) -> Iterator[Row]:
    if "imports" in parts:
        yield from processes.imports()
    if not {"idle", "latency", "submit"} & set(parts):
        return
    with tempfile.TemporaryDirectory() as folder, mochi_up(Path(folder), ENVIRON) as system:
        if "idle" in parts:
            yield from processes.idle(system.process.pid)
        if "latency" in parts:
            yield from latency.measure(system.url, system.data_dir / "logs" / "predictor.log")
        if "submit" in parts:
            yield from submitting.measure(system.url)


if __name__ == "__main__":
    main()
