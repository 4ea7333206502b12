"""How many submissions a second, and how long one takes. Runs against any server that takes `POST /jobs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

from bench.load import post_many
from bench.table import Row, milliseconds

__all__ = ["CONCURRENCY", "measure"]

CONCURRENCY = (1, 16, 64)
_WARM_UP = 200
_COUNT = {1: 1_000, 16: 3_000, 64: 3_000}


def _body(number: int) -> bytes:
    # About 100 characters, as prompts are; small and short, so that any model may do it.
    prompt = (
        f"a red circle moving right over a dark background while a blue square rests in a corner, {number}"
    )
    return json.dumps({"prompt": prompt, "num_frames": 7}).encode()


def measure(url: str) -> Iterator[Row]:
    """`POST {url}/jobs` at each concurrency."""
    target = f"{url.rstrip('/')}/jobs"
    asyncio.run(post_many(target, _body, 16, _WARM_UP))
    for concurrency in CONCURRENCY:
        found = asyncio.run(post_many(target, _body, concurrency, _COUNT[concurrency]))
        if set(found.statuses) != {202}:
            raise SystemExit(f"POST {target} was answered with {found.statuses}: nothing to measure")
        name = f"submit, {concurrency} at a time"
        yield Row(name, "rate", f"{found.rate:.0f}/s")
        yield Row(name, "p50", milliseconds(found.percentile(0.5)))
        yield Row(name, "p99", milliseconds(found.percentile(0.99)))
