"""What a clip shows, from its pixels alone. It shares no code with what draws the clips of the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.prompt_following.colours import colour_of, lightness_of
from bench.prompt_following.masks import Floats, Labels, Mask, Video, backgrounds_of, components, difference
from bench.prompt_following.motion import centroids, direction_of
from bench.prompt_following.shapes import shapes_of

__all__ = ["Seen", "judge", "most"]

#: A pixel this far from the background in any channel (of 255) belongs to some thing: a fifth of the least
#: contrast of the training's colours, so that a pale second thing counts too.
_DIFFERS = 28

#: A frame's background is this near to the clip's in each channel (of 255), or it flickers or drifts.
_STEADY = 6

#: A part with a smaller share of the frame is noise: five pixels of 64x64.
_LEAST_SHARE = 0.0012

#: Where so much of a frame differs, it has no background.
_MOST = 0.5

#: What goes for so many of the frames goes for nearly all.
_NEARLY_ALL = 0.9

#: Of the greatest difference from the background, in the core of a thing.
_CORE = 0.8

#: From this share of a square frame on, a thing is large: halfway from the largest small thing, a circle
#: (0.062), to the smallest large one, a star (0.078).
_LARGE = 0.07

#: Frames whose colour and shape are looked at.
_FRAMES = 9


@dataclass(frozen=True)
class Seen:
    """What a clip shows; `unclear` where that cannot be said, `none` of what is not there."""

    colour: str
    direction: str
    shape: str
    background: str
    objects: int  # in nearly all frames; -1 where the frames differ, or have no background
    size: str  # small or large, for the frame
    rgb: tuple[int, int, int]  # of the thing, 0 to 255
    ground: tuple[int, int, int]  # of the background, 0 to 255

    @property
    def one_object(self) -> bool:
        """Whether there is one thing, in nearly all frames."""
        return self.objects == 1


def judge(video: Video, shown: float = 1.0) -> Seen:
    """What a clip, (frames, height, width, 3), shows.

    `shown` is the part of the way through a whole clip of the training that its frames are to show, 0 to 1.
    """
    grounds = backgrounds_of(video)
    ground = np.median(grounds, axis=0)
    background = _background(grounds, ground)
    differs = difference(video, ground)
    labels = components(differs > _DIFFERS)
    counts, largest = _parts(labels)
    inside = (labels == largest[:, None, None]) & (labels > 0)
    side = min(video.shape[1:3])
    some = np.unique(np.linspace(0, len(video) - 1, _FRAMES).astype(int))
    some = some[largest[some] > 0]
    if not some.size:
        return Seen("none", "none", "none", background, 0, "none", (0, 0, 0), _rounded(ground))
    inks = _inks(video[some], differs[some], inside[some])
    ink = np.median(inks, axis=0)
    cover = _cover(video[some], ground, ink, inside[some])
    area = float(np.median(cover.sum(axis=(1, 2)))) / side**2
    return Seen(
        colour=most([colour_of(rgb) for rgb in inks]),
        direction=direction_of(centroids(labels, largest), side, shown),
        shape=most(shapes_of(cover)),
        background=background,
        objects=_usual(counts, labels),
        size="small" if area < _LARGE else "large",
        rgb=_rounded(ink),
        ground=_rounded(ground),
    )


def most(names: Sequence[str]) -> str:
    """The name that more than two thirds of the frames have, else `unclear`."""
    name, count = Counter(names).most_common(1)[0]
    return name if 3 * count > 2 * len(names) else "unclear"


def _background(grounds: Floats, ground: Floats) -> str:
    """How light it is in nearly all frames, `unclear` where it is not the clip's in some frame."""
    name, count = Counter(map(lightness_of, grounds)).most_common(1)[0]
    steady = float(np.abs(grounds - ground).max()) <= _STEADY
    return name if steady and count >= _NEARLY_ALL * len(grounds) else "unclear"


def _rounded(rgb: Floats) -> tuple[int, int, int]:
    red, green, blue = (round(float(channel)) for channel in rgb)
    return red, green, blue


def _parts(labels: Labels) -> tuple[Labels, Labels]:
    """Of each frame the number of parts that are no noise, and the label of the largest, 0 for none."""
    frames = len(labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= _LEAST_SHARE * labels[0].size)
    frame = (kept - 1) // labels[0].size
    largest = np.zeros(frames, np.int64)
    for label in kept[np.argsort(sizes[kept], kind="stable")]:
        largest[(label - 1) // labels[0].size] = label
    return np.bincount(frame, minlength=frames), largest


def _usual(counts: Labels, labels: Labels) -> int:
    """The count of nearly all frames, on a background; else -1."""
    usual = int(np.bincount(counts).argmax())
    right = (counts == usual) & ((labels > 0).mean(axis=(1, 2)) < _MOST)
    return usual if right.mean() >= _NEARLY_ALL else -1


def _inks(video: Video, differs: Floats, inside: Mask) -> Floats:
    """The thing's colour in each frame, (frames, 3): of pixels that differ most, no mixtures at an edge."""
    core = inside & (differs > _CORE * np.quantile(differs[inside], 0.9))
    core |= inside & ~core.any(axis=(1, 2), keepdims=True)  # a thing that is paler than in other frames
    inks = [np.median(pixels[chosen], axis=0) for pixels, chosen in zip(video, core, strict=True)]
    return np.asarray(inks, np.float32)


def _cover(video: Video, ground: Floats, ink: Floats, inside: Mask) -> Floats:
    """How much of each pixel the thing covers, 0 to 1: its place between the colours of both."""
    axis = ink - ground
    cover = ((video - ground) @ axis / max(float(axis @ axis), 1.0)).clip(0, 1)
    return np.asarray(cover * _dilated(inside), np.float32)


def _dilated(mask: Mask) -> Mask:
    """The mask and its neighbours: an edge's pixels differ little, and are part of the thing."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    dilated = padded.copy()
    for axis in (1, 2):
        dilated |= np.roll(padded, 1, axis) | np.roll(padded, -1, axis)
    return dilated[:, 1:-1, 1:-1]
