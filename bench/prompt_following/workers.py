"""Clips from several processes, each with a model and a share of the cores of its own.

On two cores two clips at a time take less than one after the other, where each has one thread. The seconds
of a clip are then those of one thread beside others, and not what a client waits for.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from bench.prompt_following.generator import Clip, Maker

__all__ = ["Workers"]

_maker: Maker | None = None  # of a worker's process


class Workers:
    """A Generator of as many processes; close it."""

    def __init__(self, load: Callable[[], Maker], processes: int) -> None:
        """`load` is called once in each process, and is what `spawn` can send there."""
        self._pool = ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),  # torch's threads survive no fork
            initializer=_begin,
            initargs=(load,),
        )

    def make(self, prompt: str, seed: int, **options: Any) -> Clip:  # noqa: ANN401  # a request's own fields
        """See Generator.make."""
        return next(self.clips([(prompt, seed)], **options))

    def clips(self, asked: Sequence[tuple[str, int]], **options: Any) -> Iterator[Clip]:  # noqa: ANN401  # as above
        """See Generator.clips."""
        yield from self._pool.map(partial(_make, options), asked)

    def close(self) -> None:
        """End the processes, when they have done what they are at."""
        self._pool.shutdown(cancel_futures=True)


def _begin(load: Callable[[], Maker]) -> None:
    global _maker  # an initializer has no other place to leave a model
    _maker = load()


def _make(options: dict[str, Any], asked: tuple[str, int]) -> Clip:
    assert _maker is not None, "a worker begins with a model"
    return _maker.make(*asked, **options)
