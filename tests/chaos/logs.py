"""What the processes said: how they ended, and what they did not expect."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

__all__ = ["Ends", "ends_of", "unexpected"]

_AGAIN = re.compile(r"(\w+) (.*); it is started again in ")


@dataclass
class Ends:
    """How the processes ended, as the supervisor tells it."""

    starts: Counter[str] = field(default_factory=Counter)  # after an end
    by_themselves: list[str] = field(default_factory=list)


def ends_of(lines: Queue[str]) -> Ends:
    """From what it has said until now."""
    found = Ends()
    with suppress(Empty):
        while line := lines.get_nowait():
            if match := _AGAIN.match(line):
                found.starts[match[1]] += 1
                if "signal 9" not in match[2]:
                    found.by_themselves.append(line.strip())
    return found


def unexpected(folder: Path) -> Counter[str]:
    """Stack traces, and books that had to be mended, by process and event: nobody foresaw either."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.log*")):
        for line in _lines(path):
            if "exception" in line:
                last = str(line["exception"]).strip().splitlines()[-1][:200]
                found[f"{path.name}: {line.get('event')}: {last}"] += 1
            elif line.get("event") == "books_mended":
                found[f"{path.name}: books_mended: {line.get('job')} {line.get('what')}"] += 1
    return found


def _lines(path: Path) -> Iterator[dict[str, object]]:
    for text in path.read_text("utf-8", "replace").splitlines():
        if text.startswith("{"):
            with suppress(ValueError):  # cut off by kill -9
                yield json.loads(text)
        elif text.startswith("Traceback"):
            yield {"event": "plain text", "exception": text}
