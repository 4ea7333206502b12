"""`python -m bench [imports] [idle] [latency] [submit] [backlog] [--url URL] [--jobs N]`: the parts named.

Without a name all but `backlog`, which takes minutes: it runs on a Redis of its own, with a million pending
jobs or `--jobs` of them. With `--url` only `submit` runs, against the server there, whatever it is built
with. Everything else runs on a `mochi up` of its own, with the model that does nothing.

`python -m bench prompt_following` asks how well the model follows its prompts, and has options of its own.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench import backlog, latency, processes, submitting
from bench.table import Row, show
from tests.e2e.system import mochi_up

PARTS = ("imports", "idle", "latency", "submit")
#: The backlog of a benchmark is longer than any that a person wants.
ENVIRON = {"MODEL_NAME": "none", "MOCHI_BACKLOG_LIMIT": "1000000", "MOCHI_LOG_FORMAT": "json"}


def main() -> None:
    """Run the parts that are asked for."""
    if sys.argv[1:2] == ["prompt_following"]:
        from bench.prompt_following.command import main as prompt_following

        sys.exit(prompt_following(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "backlog", []], help="see above")
    parser.add_argument("--url", help="measure submit on this server")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="pending jobs of backlog")
    asked = parser.parse_args()
    print(f"{psutil.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}\n")
    if asked.url:
        show(submitting.measure(asked.url))
    else:
        show(_rows(asked.parts or PARTS, asked.jobs))


def _rows(parts: Sequence[str], jobs: int) -> Iterator[Row]:
    if "imports" in parts:
        yield from processes.imports()
    yield from _of_a_system(parts)
    if "backlog" in parts:
        yield from backlog.measure(jobs)


def _of_a_system(parts: Sequence[str]) -> Iterator[Row]:
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
