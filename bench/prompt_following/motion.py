"""Which way something went, from where its middle was in each frame. Knows no pixels' colours."""

from __future__ import annotations

import numpy as np

from bench.prompt_following.masks import Floats, Labels

__all__ = ["direction_of", "middles"]

#: A thing whose middle stays within this share of the frame's shorter side does not move.
_STILL = 0.05

#: What moves to one side goes at most this share of its way across.
_ASTRAY = 0.35

#: What moves covers nearly its whole way from beginning to end: it does not turn back.
_FORWARD = 0.8


def middles(labels: Labels, kept: Labels) -> Floats:
    """The middle (x, y) in pixels of each frame's part that has the label in `kept`; NaN without one."""
    inside = (labels == kept[:, None, None]) & (labels > 0)
    _, height, width = labels.shape
    weight = inside.sum(axis=(1, 2)).astype(np.float32)
    weight[weight == 0] = np.nan
    x = (inside.sum(axis=1) * np.arange(width)).sum(axis=1) / weight
    y = (inside.sum(axis=2) * np.arange(height)).sum(axis=1) / weight
    return np.stack([x, y], axis=1).astype(np.float32)


def direction_of(path: Floats, side: int) -> str:
    """`left`, `right`, `up`, `down` or `still`, else `unclear`: `path` (frames, 2), `side` in pixels.

    Unclear is a path askew, one that turns back, and one that lacks more than a tenth of its frames.
    """
    seen = path[~np.isnan(path).any(axis=1)]
    if len(seen) < max(2, 0.9 * len(path)):
        return "unclear"
    extent = seen.max(axis=0) - seen.min(axis=0)
    if extent.max() < _STILL * side:
        return "still"
    main = int(extent.argmax())
    way = float(seen[-1, main] - seen[0, main])
    if extent[1 - main] > _ASTRAY * extent[main] or abs(way) < _FORWARD * extent[main]:
        return "unclear"
    return (("left", "right"), ("up", "down"))[main][int(way > 0)]
