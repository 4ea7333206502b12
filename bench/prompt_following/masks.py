"""Where a clip differs from its background, and in how many places. Knows no names of colours or shapes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Labels", "Mask", "Video", "backgrounds_of", "components", "difference"]

Video: TypeAlias = npt.NDArray[np.uint8]  # (frames, height, width, 3), RGB, 0 to 255
Floats: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]  # (frames, height, width)
Labels: TypeAlias = npt.NDArray[np.int64]  # (frames, height, width): 0 where there is nothing

#: Every so many pixels are enough to know the background; a prime, so that no column is left out.
_STRIDE = 7


def backgrounds_of(video: Video) -> Floats:
    """The colour of each frame's background, (frames, 3): its median pixel; a thing covers less than half."""
    pixels = video.reshape(len(video), -1, 3)[:, ::_STRIDE]
    return np.asarray(np.median(pixels, axis=1), np.float32)


def difference(video: Video, background: Floats) -> Floats:
    """How far each pixel is from the background, (frames, height, width), 0 to 255: its largest channel."""
    red, green, blue = (np.abs(video[..., c].astype(np.float32) - background[c]) for c in range(3))
    return np.asarray(np.maximum(np.maximum(red, green), blue), np.float32)


def components(mask: Mask) -> Labels:
    """One positive number for each connected part (over edges, not corners) of each frame.

    Every pixel begins with a number of its own (its place in the clip, from 1); the runs of a row, then
    those of a column, take the largest number in them, until nothing changes.
    """
    _, height, width = mask.shape
    places = np.flatnonzero(mask)
    labels = np.zeros(mask.shape, np.int64)
    if places.size:
        frame, y, x = np.unravel_index(places, mask.shape)
        numbers = places + 1
        rows, columns = np.arange(places.size), np.lexsort((y, x, frame))
        starts = [
            _starts(places, x == 0),
            _starts(((frame * width + x) * height + y)[columns], y[columns] == 0),
        ]
        before = np.zeros_like(numbers)
        while not np.array_equal(before, numbers):
            before = numbers.copy()
            for order, run_starts in zip((rows, columns), starts, strict=True):
                largest = np.maximum.reduceat(numbers[order], run_starts)
                numbers[order] = np.repeat(largest, np.diff(run_starts, append=places.size))
        labels.ravel()[places] = numbers
    return labels


def _starts(along: npt.NDArray[np.int64], edge: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Where runs begin among pixels that are sorted `along` a line; `edge`: a new line begins there."""
    return np.flatnonzero(edge | (np.diff(along, prepend=-2) != 1))
