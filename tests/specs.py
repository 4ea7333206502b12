"""What a test asks for where it does not matter: a small video."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.request import VideoSpec

__all__ = ["spec"]

_SMALL = VideoSpec(
    prompt="a red circle — moving right",
    negative_prompt="",
    width=64,
    height=64,
    num_frames=7,
    fps=30,
    num_inference_steps=8,
    guidance_scale=3.5,
    seed=7,
    queue="short-low",
)


def spec(**changes: Any) -> VideoSpec:  # noqa: ANN401  # of any of its fields
    """A request, with what matters to the test."""
    return replace(_SMALL, **changes)
