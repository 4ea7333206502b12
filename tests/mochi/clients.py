"""Both clients behind one face, so that one suite tests both."""
# ruff: noqa: ANN401 - the face passes on any method of the client

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from mochi import AsyncClient, Client, Retry

__all__ = ["KINDS", "QUICK", "Make", "client_of"]

KINDS = ("sync", "async")
#: Retries as often as usual, with next to no pause.
QUICK = Retry(pause=0.001, longest=0.05)

Make = Callable[..., Client]


class _Blocking:
    """An AsyncClient whose methods block, on an event loop of its own."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            if isinstance(result, AsyncGenerator):
                return self._items(result)
            return self._runner.run(result)

        return call

    def _items(self, values: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(values)

        async def close() -> None:
            await values.aclose()

        try:
            while True:
                try:
                    value = self._runner.run(following())
                except StopAsyncIteration:
                    return
                yield value
        finally:
            self._runner.run(close())


@contextmanager
def client_of(kind: str, url: str, **options: Any) -> Iterator[Client]:
    """A client of a kind."""
    options = {"retry": QUICK, **options}
    if kind == "sync":
        with Client(url, **options) as client:
            yield client
        return
    with asyncio.Runner() as runner:

        async def opened() -> AsyncClient:
            return AsyncClient(url, **options)

        opened_client = runner.run(opened())
        try:
            yield cast(Client, _Blocking(opened_client, runner))
        finally:
            runner.run(opened_client.close())
