"""`mochi up` with short pauses before a process that died is started again: here they die all the time.

What its processes say to each other goes through the proxies that CHAOS_PROXIES names: `broker=PORT,…`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from local.pauses import GrowingPause
from local.plan import Plan
from local.processes import Program
from local.up import run

__all__ = ["through"]

#: As MOCHI_ADDRESSES names those that the broker sends to.
_NAMES = {
    "completion": "Service/completion",
    "reaper": "Service/reaper",
    "predictor": "InferenceService/mochi-1",
}


def through(ports: Mapping[str, str], plan: Plan) -> Plan:
    """The plan with a proxy before each of these processes."""

    def changed(programs: tuple[Program, ...]) -> tuple[Program, ...]:
        return tuple(replace(program, environ=_environ(ports, program.environ)) for program in programs)

    return replace(plan, workers=changed(plan.workers), doors=changed(plan.doors))


def _environ(ports: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    found = dict(environ)
    if "K_SINK" in found:
        found["K_SINK"] = re.sub(r":\d+/", f":{ports['broker']}/", found["K_SINK"])
    if "MOCHI_ADDRESSES" in found:
        urls = dict(pair.split("=", 1) for pair in found["MOCHI_ADDRESSES"].split(","))
        urls |= {named: f"http://127.0.0.1:{ports[name]}" for name, named in _NAMES.items()}
        found["MOCHI_ADDRESSES"] = ",".join(f"{name}={url}" for name, url in urls.items())
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    asked = parser.parse_args()
    proxies = dict(pair.split("=") for pair in os.environ["CHAOS_PROXIES"].split(","))
    sys.exit(
        run(
            "127.0.0.1",
            asked.port,
            asked.data_dir,
            lambda: GrowingPause(first=0.2, longest=0.5),
            lambda plan: through(proxies, plan),
        )
    )
