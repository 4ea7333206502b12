"""The pauses between two tries at what is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["growing_pauses"]


async def growing_pauses(longest: float = 5.0) -> AsyncIterator[None]:
    """Sleep before every turn but the first: 0.25 s, 0.5 s, 1 s and so on up to `longest`."""
    pause = 0.25
    while True:
        yield
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
