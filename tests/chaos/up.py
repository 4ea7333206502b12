"""`mochi up` with short pauses before a process that died is started again: here they die all the time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local.pauses import GrowingPause
from local.up import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    asked = parser.parse_args()
    sys.exit(run("127.0.0.1", asked.port, asked.data_dir, lambda: GrowingPause(first=0.2, longest=0.5)))
