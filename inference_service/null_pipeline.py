"""A pipeline without a model, for benchmarks of the platform (`MODEL_NAME=none`): a grey clip.

It takes every step of a job but the model's work, so that what is measured is the platform's own share.
A step is a sleep of a millisecond, or longer for a larger clip, as a model's would be: two of the default
clip are nothing to a benchmark, two thousand of the largest are a minute in which a pod can be lost.

A prompt with the words `lose the GPU at step 5` does what a broken GPU does, so that its consequences can be
seen without one: the step fails in any work that began with the first step, and in none that was resumed.
With `hang at step 5` that step never ends.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from inference_service.pipeline import DeviceLost, Frames, Latents, Progress
from jobs.job import Phase
from jobs.profile import Estimate, FloatRange, IntRange, Profile
from jobs.request import VideoSpec

__all__ = ["NO_MODEL", "NullPipeline"]

#: The value of MODEL_NAME that chooses this pipeline.
NO_MODEL = "none"

_WIDTH, _HEIGHT, _FRAMES = 64, 64, 7  # of the default clip
_STEP_SECONDS = 0.001  # of the default clip, and the least

_FAULT = re.compile(r"(lose the GPU|hang) at step (\d+)")

_PROFILE = Profile(
    name=NO_MODEL,
    width=IntRange(min=16, max=128, default=_WIDTH, multiple_of=16),
    height=IntRange(min=16, max=128, default=_HEIGHT, multiple_of=16),
    max_pixels=128 * 128,
    num_frames=IntRange(min=7, max=61, default=_FRAMES, multiple_of=6, offset=1),
    num_inference_steps=IntRange(min=2, max=2000, default=2),
    quality={"low": 2, "medium": 4, "high": 8},
    guidance_scale=FloatRange(min=1.0, max=20.0, default=4.5),
    short_seconds=1.0,
    estimate=Estimate(base=0.05, per_step=_STEP_SECONDS * 1e6 / (_WIDTH * _HEIGHT * _FRAMES), decode=0.0),
)


class NullPipeline:
    """Frames of one grey, after as many naps as steps. The grey tells whether each step was done once."""

    def __init__(self, nap: Callable[[float], None] = time.sleep) -> None:
        """`nap`: lets the thread that calls it sleep for so many seconds."""
        self._nap = nap

    @property
    def profile(self) -> Profile:
        """Small sizes, two steps."""
        return _PROFILE

    @property
    def identity(self) -> Mapping[str, str]:
        """No weights and no libraries."""
        return MappingProxyType({"weights": NO_MODEL})

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        """A nap a step; the latents are a chain of digests that begins with the seed. Raises DeviceLost."""
        fault = _FAULT.search(spec.prompt) if start is None else None
        size = spec.width * spec.height * spec.num_frames
        seconds = _STEP_SECONDS * max(1.0, size / (_WIDTH * _HEIGHT * _FRAMES))
        latents = start or _latents(0, str(spec.seed).encode())
        progress.entered(Phase.ENCODING_PROMPT, latents.step)
        progress.entered(Phase.DENOISING, latents.step)
        while latents.step < spec.num_inference_steps:
            self._nap(seconds)
            if fault and latents.step + 1 == int(fault[2]):
                self._break(fault)
            latents = _latents(latents.step + 1, latents.data)
            if not progress.stepped(latents.step, lambda now=latents: now):  # type: ignore[misc]  # mypy cannot infer it
                break
        return latents

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
        """The first byte of the latents is the grey."""
        progress.entered(Phase.DECODING, spec.num_inference_steps)
        return np.full((spec.num_frames, spec.height, spec.width, 3), latents.data[0], np.uint8)

    def _break(self, fault: re.Match[str]) -> NoReturn:
        while fault[1] == "hang":
            self._nap(1.0)
        raise DeviceLost(f"the prompt asks to {fault[0]}")


def _latents(step: int, before: bytes) -> Latents:
    digest = hashlib.sha256(before).digest()
    return Latents(step, "U8", (len(digest),), digest)
