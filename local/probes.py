"""Whether a process is ready: one short question each, on loopback, past any proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

__all__ = ["Probe", "http_answers", "redis_answers"]

#: Asks once; whether the process is ready.
Probe = Callable[[], Awaitable[bool]]

#: Seconds for which a question waits for its answer.
_PATIENCE = 5.0


def http_answers(host: str, port: int, *paths: str, statuses: Collection[int] = (200,)) -> Probe:
    """Ready once GET of each of the paths, in this order, gives one of the statuses."""

    async def probe() -> bool:
        for path in paths:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            words = (await _ask(host, port, request)).split()
            if len(words) < 2 or not words[1].isdigit() or int(words[1]) not in statuses:
                return False
        return True

    return probe


def redis_answers(host: str, port: int, password: str) -> Probe:
    """Ready once a PING after AUTH is answered: a server that still loads its data refuses it."""

    async def probe() -> bool:
        return await _ask(host, port, f"AUTH {password}\r\nPING\r\n", lines=2) == "+PONG"

    return probe


async def _ask(host: str, port: int, question: str, lines: int = 1) -> str:
    """The last of the first `lines` lines of the answer; empty where there is none."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(question.encode())
                answer = [await reader.readline() for _ in range(lines)]
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # ValueError: a line without an end
        return ""
    return answer[-1].decode("ascii", "replace").strip()
