"""The name of a shape, from how far its edge is from its middle in each direction.

A circle's edge is always as far away; a triangle's has three peaks in a turn, a square's four and a
star's five. So the lengths of the first terms of that curve's Fourier series tell them apart, whatever
the size and the rotation. They are compared with those of the ideal shapes, computed from their corners.
Knows pixels only as how much of each is covered.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bench.prompt_following.masks import Floats

__all__ = ["edge_distances", "shapes_of"]

_ANGLES = 60  # divides by 3, 4 and 5
_TERMS = 10  # of the series: a star's second harmonic is the tenth
_STEP = 0.5  # pixels along a ray

#: Further than this from every ideal shape, it is none of them: about as far as a star is from a circle.
_FARTHEST = 0.15

#: It is the nearest one only where that is nearer than the next by this factor: between two it is neither.
#: By the distance alone a circle could wobble until it is a square, and a star hardly at all.
_CLEARLY = 0.8

#: The area within the curve is that of what is covered, or the thing has a hole: a ring's rays are as long in
#: each direction too. A hole of a fifth of a circle's radius makes a third of difference.
_HOLLOW = 0.15


def shapes_of(cover: Floats) -> list[str]:
    """The shape in each frame: `cover`, (frames, height, width), is 1 inside of the one thing and 0 outside.

    It is `unclear` where it is like no shape or like two, where it has a hole, and where there is nothing.
    """
    curves = edge_distances(cover)
    whole = curves.sum(axis=1, keepdims=True)
    series = np.abs(np.fft.rfft(curves, axis=1))[:, 1 : _TERMS + 1] / np.maximum(whole, 1e-6)
    distances = np.sqrt(((series[:, None] - _IDEALS) ** 2).sum(axis=-1))
    nearest, next_one = np.sort(distances, axis=1)[:, :2].T
    covered = cover.sum(axis=(1, 2))
    within = (curves**2).sum(axis=1) * (math.pi / _ANGLES)
    solid = np.abs(within - covered) <= _HOLLOW * covered
    known = (nearest < _FARTHEST) & (nearest < _CLEARLY * next_one) & (whole[:, 0] > 0) & solid
    return [_NAMES[i] if sure else "unclear" for i, sure in zip(distances.argmin(axis=1), known, strict=True)]


def edge_distances(cover: Floats) -> Floats:
    """Pixels from the middle to the edge, (frames, angles): what a ray in that direction covers."""
    _, height, width = cover.shape
    weight = np.maximum(cover.sum(axis=(1, 2)), 1e-6)
    middle_y = (cover.sum(axis=2) * np.arange(height)).sum(axis=1) / weight
    middle_x = (cover.sum(axis=1) * np.arange(width)).sum(axis=1) / weight
    reach = np.arange(_STEP / 2, 1.8 * math.sqrt(float(weight.max())) + 2, _STEP)
    angles = np.arange(_ANGLES) * (2 * math.pi / _ANGLES)
    ys = middle_y[:, None, None] + np.sin(angles)[:, None] * reach
    xs = middle_x[:, None, None] + np.cos(angles)[:, None] * reach
    return np.asarray(_between(cover, ys, xs).sum(axis=-1) * _STEP, np.float32)


def _between(cover: Floats, ys: npt.NDArray[np.float64], xs: npt.NDArray[np.float64]) -> Floats:
    """Cover at points between pixels (bilinear), 0 outside of the frame."""
    padded = np.pad(cover, ((0, 0), (1, 1), (1, 1)))
    frames, height, width = padded.shape
    ys, xs = np.clip(ys + 1, 0, height - 1.001), np.clip(xs + 1, 0, width - 1.001)
    y0, x0 = ys.astype(np.int64), xs.astype(np.int64)
    fy, fx = (ys - y0).astype(np.float32), (xs - x0).astype(np.float32)
    flat = padded.ravel()
    at = (np.arange(frames)[:, None, None] * height + y0) * width + x0
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + width] * (1 - fx) + flat[at + width + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)


def _polygon(radii: list[float]) -> Floats:
    """The curve of a polygon around its middle, with corners at these distances and equal angles."""
    count = len(radii)
    turn = 2 * math.pi / count
    angles = np.arange(_ANGLES) * (2 * math.pi / _ANGLES)
    side = np.floor(angles / turn).astype(int) % count
    a, b = np.take(radii, side), np.take(radii, (side + 1) % count)
    inner = angles - side * turn
    # A ray meets the line between (a, 0) and (b, turn): the sine rule.
    distances = a * b * math.sin(turn) / (a * np.sin(inner) + b * np.sin(turn - inner))
    return np.asarray(distances, np.float32)


def _series(radii: list[float]) -> Floats:
    curve = _polygon(radii)
    return np.asarray(np.abs(np.fft.rfft(curve))[1 : _TERMS + 1] / curve.sum(), np.float32)


#: The distances of the corners of each shape. A star's inner corners may have any depth: a pentagram's are
#: at 0.38.
_CORNERS = {
    "circle": [1.0] * 60,
    "triangle": [1.0] * 3,
    "square": [1.0] * 4,
    "star": [1.0, 0.45] * 5,
}
_NAMES = tuple(_CORNERS)
_IDEALS = np.stack([_series(radii) for radii in _CORNERS.values()])
