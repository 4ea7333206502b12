"""`python -m functions.serve --host … --port …`: a function under functions-framework's ASGI app, on uvicorn.

FUNCTION_SOURCE and FUNCTION_TARGET name the function, as for functions-framework's own command. That one
waits without limit for open event streams at SIGTERM, and uvicorn's wakes ten times a second.
"""

from __future__ import annotations

import argparse
import asyncio
from types import FrameType

import uvicorn

from functions.plain_http import PlainHttp

__all__ = ["SleepingServer"]

#: Seconds that requests in flight, event streams among them, may still take once the process is told to stop.
_DRAIN = 3


class SleepingServer(uvicorn.Server):
    """A server that sleeps until it is told to stop. It sends no `Date`, which a loop would have to keep."""

    def __init__(self, config: uvicorn.Config) -> None:
        config.date_header = False
        super().__init__(config)
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def tell_to_stop(self) -> None:
        """End `serve`. Call it on the event loop."""
        self.should_exit = True
        self._told.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Uvicorn's signal handler: a second SIGINT does not wait for requests."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)  # a loop that sleeps does not see a flag

    async def main_loop(self) -> None:
        """Instead of uvicorn's, which looks at `should_exit` ten times a second."""
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._told.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m functions.serve", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # a container's port is reached from outside
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    config = uvicorn.Config(
        "functions_framework.aio:app",
        host=given.host,
        port=given.port,
        http=PlainHttp,
        ws="none",  # nothing here speaks it; where it is on, a POST that asks for it is never answered
        timeout_graceful_shutdown=_DRAIN,
    )
    SleepingServer(config).run()


if __name__ == "__main__":
    main()
