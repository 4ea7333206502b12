"""Which way something went, from its centroid in each frame. Knows no pixels' colours."""

from __future__ import annotations

import numpy as np

from bench.prompt_following.masks import Floats, Labels

__all__ = ["centroids", "direction_of"]

#: A thing whose centroid stays within this share of the frame's shorter side does not move, and one that
#: moves goes at least so far: a third of the training's way. Both are those of a whole clip.
_STILL = 0.05
_MOVES = 0.12

#: What moves to one side goes at most this share of its way across.
_ASTRAY = 0.35

#: What moves covers nearly its whole way from beginning to end, and all its steps back together are at most
#: this share of it: two frames of every four that change places are a quarter.
_FORWARD = 0.8
_BACK = 0.2

#: What moves is never further than this share of its way from where an even motion would have it. What stands
#: and jumps is off by half or more; in seven frames, whose way is 2 or 3 pixels, what moves is by a third.
_UNEVEN = 0.4


def centroids(labels: Labels, kept: Labels) -> Floats:
    """The centroid (x, y) in pixels of each frame's part that has the label in `kept`; NaN without one."""
    inside = (labels == kept[:, None, None]) & (labels > 0)
    _, height, width = labels.shape
    weight = inside.sum(axis=(1, 2)).astype(np.float32)
    weight[weight == 0] = np.nan
    x = (inside.sum(axis=1) * np.arange(width)).sum(axis=1) / weight
    y = (inside.sum(axis=2) * np.arange(height)).sum(axis=1) / weight
    return np.stack([x, y], axis=1).astype(np.float32)


def direction_of(path: Floats, side: int, shown: float = 1.0) -> str:
    """`left`, `right`, `up`, `down` or `still`, else `unclear`: `path` (frames, 2), `side` in pixels.

    Unclear is a path askew, one too short, one that turns back at its end or on its way, one of a thing that
    stands and jumps, and one that lacks more than a tenth of its frames. `shown` is the part of a whole
    clip's way that they are to show.
    """
    when = np.flatnonzero(~np.isnan(path).any(axis=1))
    seen = path[when]
    if len(seen) < max(2, 0.9 * len(path)):
        return "unclear"
    extent = seen.max(axis=0) - seen.min(axis=0)
    if extent.max() < _STILL * side * shown:
        return "still"
    main = int(extent.argmax())
    way = float(seen[-1, main] - seen[0, main])
    steps = np.diff(seen[:, main]) * np.sign(way)
    even = np.interp(when, when[[0, -1]], seen[[0, -1], main])
    clear = (
        extent[main] >= _MOVES * side * shown
        and extent[1 - main] <= _ASTRAY * extent[main]
        and abs(way) >= _FORWARD * extent[main]
        and -steps[steps < 0].sum() <= _BACK * extent[main]
        and np.abs(seen[:, main] - even).max() <= _UNEVEN * extent[main]
    )
    return (("left", "right"), ("up", "down"))[main][int(way > 0)] if clear else "unclear"
