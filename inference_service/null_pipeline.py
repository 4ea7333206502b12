"""A pipeline without a model, for benchmarks of the platform (`MODEL_NAME=none`): a constant clip.

It takes every step of a job but the model's work, so that what is measured is the platform's own share.
A step is a sleep of a millisecond: two are nothing to a benchmark, two thousand are a job to be cut off.
"""

from __future__ import annotations

import time

import numpy as np

from inference_service.pipeline import Frames, Report
from jobs.job import Phase
from jobs.profile import Estimate, FloatRange, IntRange, Profile
from jobs.request import VideoSpec

__all__ = ["NO_MODEL", "NullPipeline"]

#: The value of MODEL_NAME that chooses this pipeline.
NO_MODEL = "none"

_STEP_SECONDS = 0.001

_PROFILE = Profile(
    name=NO_MODEL,
    width=IntRange(min=16, max=128, default=64, multiple_of=16),
    height=IntRange(min=16, max=128, default=64, multiple_of=16),
    max_pixels=128 * 128,
    num_frames=IntRange(min=7, max=61, default=7, multiple_of=6, offset=1),
    num_inference_steps=IntRange(min=2, max=2000, default=2),
    quality={"low": 2, "medium": 4, "high": 8},
    guidance_scale=FloatRange(min=1.0, max=20.0, default=4.5),
    short_seconds=1.0,
    estimate=Estimate(base=0.05, per_step=_STEP_SECONDS, decode=0.0),
)


class NullPipeline:
    """Grey frames after as many naps as steps."""

    @property
    def profile(self) -> Profile:
        """Small sizes, two steps."""
        return _PROFILE

    def generate(self, spec: VideoSpec, report: Report) -> Frames:
        """Grey frames of the asked size and number; the phases and each step are reported."""
        report(Phase.ENCODING_PROMPT, 0)
        report(Phase.DENOISING, 0)
        for step in range(1, spec.num_inference_steps + 1):
            time.sleep(_STEP_SECONDS)
            report(Phase.DENOISING, step)
        report(Phase.DECODING, spec.num_inference_steps)
        return np.full((spec.num_frames, spec.height, spec.width, 3), 128, np.uint8)
