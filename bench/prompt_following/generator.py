"""Clips as the server makes them: its adapter, its number type, the profile's defaults. One at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from inference_service.loading import load_pipeline, usable_cores
from inference_service.pipeline import Frames, Latents, VideoPipeline
from jobs.job import Phase
from jobs.profile import shipped_profile
from jobs.request import parse_request, resolve
from jobs.settings import DEFAULT_MODEL, Settings

__all__ = ["Clip", "Generator", "Maker", "check", "load", "threads"]

_QUEUE = "bench"
_THREADS = 2  # what a clip is to be fast enough with


@dataclass(frozen=True)
class Clip:
    """What came out."""

    frames: Frames
    seconds: float  # from the prompt to the frames, both included


class Maker(Protocol):
    """Whatever makes clips: one model, or several at once."""

    def make(self, prompt: str, seed: int, **options: Any) -> Clip:  # noqa: ANN401  # a request's own fields
        """See Generator."""

    def clips(self, asked: Sequence[tuple[str, int]], **options: Any) -> Iterator[Clip]:  # noqa: ANN401  # as above
        """See Generator."""


class _Unwatched:
    """A Progress that nobody looks at."""

    def entered(self, phase: Phase, step: int) -> None:
        """Nothing to do."""

    def stepped(self, step: int, latents: Callable[[], Latents]) -> bool:  # noqa: ARG002  # the protocol's
        """Go on."""
        return True


class Generator:
    """A loaded model."""

    def __init__(self, pipeline: VideoPipeline) -> None:
        self._pipeline = pipeline

    def make(self, prompt: str, seed: int, **options: Any) -> Clip:  # noqa: ANN401  # a request's own fields
        """A clip of what a client asks for; what `options` leave open is the profile's.

        Raises InvalidRequest, where the door would, and GenerationError.
        """
        asked = {"prompt": prompt or ".", "seed": seed, **options}
        profile = self._pipeline.profile
        spec = resolve(parse_request(asked, profile, [_QUEUE]), profile, [_QUEUE], seed)
        if not prompt:  # the door refuses it, and the pipeline takes it
            spec = replace(spec, prompt="")
        started = time.perf_counter()
        latents = self._pipeline.denoise(spec, None, _Unwatched())
        frames = self._pipeline.decode(spec, latents, _Unwatched())
        return Clip(frames, time.perf_counter() - started)

    def clips(self, asked: Sequence[tuple[str, int]], **options: Any) -> Iterator[Clip]:  # noqa: ANN401  # as above
        """A clip of each prompt and seed, in their order, each made when it is wanted. Raises as `make`."""
        for prompt, seed in asked:
            yield self.make(prompt, seed, **options)


def check(**options: Any) -> None:  # noqa: ANN401  # a request's own fields
    """Raise InvalidRequest where the door would refuse these fields: before any model is loaded."""
    profile = shipped_profile(DEFAULT_MODEL)
    assert profile is not None, "the built-in model has one"
    parse_request({"prompt": ".", **options}, profile, [_QUEUE])


def load(folder: Path | None, scratch: Path, processes: int = 1) -> Generator:
    """The model that `mochi up` serves, or the one in `folder` with the same profile.

    It computes in so many `threads` as its share of this process's cores allows.
    Raises ConfigurationError, or what diffusers raises of a folder that is no model.
    """
    from inference_service import mochi_loading  # seconds: torch

    if folder is None:
        pipeline = load_pipeline(Settings(scratch_dir=scratch))
    else:
        pipeline = mochi_loading.load_mochi(folder, DEFAULT_MODEL)
    mochi_loading.use_threads(threads(usable_cores(), processes))
    return Generator(pipeline)


def threads(cores: int, processes: int) -> int:
    """How many each of `processes` computes in: two, wherever it runs, or its share of fewer cores."""
    return max(1, min(_THREADS, cores // processes))
