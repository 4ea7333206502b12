"""A picture of clips for people: a row of frames for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.prompt_following.masks import Video

__all__ = ["STRIP", "strip", "write_strip"]

#: The prompts of the README's picture, and the seed of each.
STRIP = (
    ("a red circle moving right", 1),
    ("a small yellow star moving up", 2),
    ("a blue triangle moving left on a light background", 3),
)

_FRAMES, _SCALE, _GAP = 6, 2, 4  # frames a row; pixels a pixel; pixels between frames
_PAPER = 255


def strip(clips: Sequence[Video]) -> Video:
    """Some frames of each clip, from the first to the last: one row a clip, (height, width, 3)."""
    rows = []
    for clip in clips:
        chosen = np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)
        big = clip[chosen].repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
        edged = np.pad(big, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=_PAPER)
        rows.append(np.concatenate(list(edged), axis=1))
    return np.concatenate(rows, axis=0)[:-_GAP, :-_GAP]


def write_strip(clips: Sequence[Video], path: Path) -> None:
    """As a PNG. Raises OSError."""
    Image.fromarray(strip(clips)).save(path, "PNG", optimize=True)
