"""Clips whose content is known, for the tests of the judge: fast ones, and through the project's encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from bench.prompt_following.judge import Seen
from bench.prompt_following.masks import Video
from inference_service.encoding import write_video
from training.clips import DIRECTIONS, HELD_OUT, TRAINED, Clip, draw_clip, render

__all__ = ["ALL", "decoded", "drawn", "encoded", "every_15th", "expected", "of_seen"]

ALL = (*HELD_OUT, *TRAINED)


def drawn(count: int, seed: int) -> list[Clip]:
    """Random clips of every combination."""
    rng = np.random.default_rng(seed)
    return [draw_clip(rng, ALL) for _ in range(count)]


def every_15th(clip: Clip, side: int = 64) -> Video:
    """Five of a clip's 61 frames, the first and the last among them, at the cost of five."""
    x, y = (
        middle + step * 7 * clip.travel
        for middle, step in zip(clip.centre, DIRECTIONS[clip.combination.direction], strict=True)
    )
    return render(replace(clip, travel=15 * clip.travel, centre=(x, y)), 5, side, side)


def expected(clip: Clip) -> tuple[str, str, str, str, str, int]:
    """What the judge is to say of it."""
    shape, colour, direction = clip.combination
    return colour, direction, shape, clip.background, clip.size, 1


def of_seen(seen: Seen) -> tuple[str, str, str, str, str, int]:
    """The same of what it says."""
    return seen.colour, seen.direction, seen.shape, seen.background, seen.size, seen.objects


def encoded(video: Video, path: Path) -> Path:
    """As an MP4 by the project's own encoder."""
    write_video(video, path, fps=30)
    return path


def decoded(path: Path) -> Video:
    """As a player shows it: by the matrix and the range that the file is tagged with."""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
