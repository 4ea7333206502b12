"""The world that the tiny Mochi knows: one coloured shape before a plain background, moving or still.

Draws clips with their labels, renders them with antialiasing, and says in words what they show.
Knows numpy and no torch, no model and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "DIRECTIONS",
    "HELD_OUT",
    "SHAPES",
    "SIZES",
    "TRAINED",
    "Clip",
    "Combination",
    "draw_clip",
    "prompt_for",
    "render",
    "vocabulary",
]

Pixels: TypeAlias = NDArray[np.uint8]
_Floats: TypeAlias = NDArray[np.float32]

#: RGB, 0 to 255. No two hues are nearer than 20 degrees, and each stands out from both backgrounds.
COLOURS = {
    "red": (225, 25, 35),
    "orange": (250, 135, 10),
    "yellow": (245, 220, 20),
    "green": (30, 170, 55),
    "cyan": (20, 200, 215),
    "blue": (35, 75, 235),
    "purple": (140, 45, 210),
    "pink": (250, 90, 180),
}

#: RGB, 0 to 255.
BACKGROUNDS = {"dark": (22, 22, 28), "light": (232, 232, 226)}

#: Pixels (x, y) that a shape goes for each pixel of its travel; y grows downwards.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}

#: The lowest and the highest radius, in pixels of a clip 64 pixels wide.
SIZES = {"small": (8.0, 9.0), "large": (11.0, 12.0)}

#: Tips, distance of a tip and of a notch (or an edge's middle) from the centre, both in radii.
#: A circle has none; the factors make the areas of a size much alike.
_OUTLINES = {
    "circle": (0, 1.0, 1.0),
    "square": (4, 1.25, 1.25 * cos(pi / 4)),
    "triangle": (3, 1.45, 1.45 * cos(pi / 3)),
    "star": (5, 1.45, 0.62),
}
SHAPES = tuple(_OUTLINES)

_SIDE = 64  # pixels that a clip's measures are in
_FRAMES = 61  # frames that its travel takes; a shorter clip shows the beginning


class Combination(NamedTuple):
    """What a clip is asked to show, and what is held out as a whole."""

    shape: str
    colour: str
    direction: str


ALL = [Combination(s, c, d) for s in SHAPES for c in COLOURS for d in DIRECTIONS]

#: Never trained on by any part of the model: each shape with each direction once, each colour 2 or 3 times.
HELD_OUT = tuple(
    Combination(SHAPES[k % 4], list(COLOURS)[(3 * k + k // 8) % 8], list(DIRECTIONS)[k % 5])
    for k in range(20)
)

TRAINED = tuple(sorted(set(ALL) - set(HELD_OUT)))


@dataclass(frozen=True)
class Clip:
    """A clip's labels and measures; everything that its pixels follow from.

    `centre` is the shape's (x, y) halfway through 61 frames, `radius` and `travel` its size and its way
    through them, all in pixels of a clip 64 pixels wide.
    """

    combination: Combination
    background: str
    size: str
    centre: tuple[float, float]
    radius: float
    travel: float


def draw_clip(rng: np.random.Generator, combinations: Sequence[Combination] | None = None) -> Clip:
    """A clip of one of `combinations` (else of any that is trained on), the shape whole within the frame."""
    combinations = TRAINED if combinations is None else combinations
    combination = combinations[int(rng.integers(len(combinations)))]
    size = str(rng.choice(list(SIZES)))
    along, across = rng.uniform(-1.5, 1.5), rng.uniform(-8, 8)
    horizontal = DIRECTIONS[combination.direction][0] != 0
    if combination.direction == "still":
        along = rng.uniform(-8, 8)
    x, y = (along, across) if horizontal else (across, along)
    return Clip(
        combination=combination,
        background=str(rng.choice(list(BACKGROUNDS))),
        size=size,
        centre=(_SIDE / 2 + x, _SIDE / 2 + y),
        radius=float(rng.uniform(*SIZES[size])),
        travel=float(rng.uniform(23, 26)),
    )


def render(clip: Clip, frames: int = 61, height: int = 64, width: int = 64) -> Pixels:
    """The clip's pixels as (frames, height, width, 3), RGB; edges are smoothed over one pixel."""
    scale = min(height, width) / _SIDE
    radius = clip.radius * scale
    step = np.array(DIRECTIONS[clip.combination.direction], np.float32)
    way = (np.arange(frames, dtype=np.float32) / (_FRAMES - 1) - 0.5) * clip.travel
    middle = np.array(clip.centre, np.float32) - _SIDE / 2
    centre = (middle + step * way[:, None]) * scale + np.array((width / 2, height / 2), np.float32)
    # Only a box around the shape is computed, on a canvas with room for boxes that reach over the edge.
    box = 2 * int(1.5 * radius + 2)
    corner = np.floor(centre).astype(int) - box // 2
    x, y = (corner[:, i, None] + np.arange(box) + 0.5 - centre[:, i, None] for i in (0, 1))
    distance = _distance(
        clip.combination.shape, x[:, None, :].astype(np.float32), y[:, :, None].astype(np.float32), radius
    )
    covered = np.zeros((frames, height + 2 * box, width + 2 * box, 1), np.float32)
    for frame, (left, top) in enumerate(np.clip(corner + box, 0, (width + box, height + box))):
        covered[frame, top : top + box, left : left + box, 0] = np.clip(0.5 - distance[frame], 0, 1)
    covered = covered[:, box:-box, box:-box]
    ground = np.array(BACKGROUNDS[clip.background], np.float32)
    ink = np.array(COLOURS[clip.combination.colour], np.float32)
    pixels: Pixels = np.round(ground + covered * (ink - ground)).astype(np.uint8)
    return pixels


def _distance(shape: str, x: _Floats, y: _Floats, radius: float) -> _Floats:
    """Pixels from the outline, negative inside; all but the circle's by folding the plane to half a tip."""
    tips, tip, notch = _OUTLINES[shape]
    from_centre = np.hypot(x, y)
    if not tips:
        return np.asarray(from_centre - radius, np.float32)
    # The first tip points up, but a square's point to its corners. A triangle hangs from its centroid.
    turn = pi / 4 if shape == "square" else 0.0
    angle = np.arctan2(x, -y) + turn
    half = pi / tips
    folded = np.abs((angle + half) % (2 * half) - half)
    # From the tip (on the axis) to the notch (at the angle `half`): outside is to the right of that edge.
    edge_x, edge_y = radius * (notch * cos(half) - tip), radius * notch * sin(half)
    length = (edge_x**2 + edge_y**2) ** 0.5
    along, across = from_centre * np.cos(folded) - radius * tip, from_centre * np.sin(folded)
    return np.asarray((along * edge_y - across * edge_x) / length, np.float32)


_NAMES = {
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "purple": ("purple", "purple", "violet"),
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
    "dark": ("dark", "dark", "black"),
    "light": ("light", "light", "white"),
}
_VERBS = ("moving", "moving", "going", "gliding", "that moves", "sliding", "moves", "flying", "drifting")
_STILL = ("standing still", "that does not move", "staying still", "still", "not moving", "resting")
_WAYS = {
    "left": ("left", "left", "to the left", "leftwards"),
    "right": ("right", "right", "to the right", "rightwards"),
    "up": ("up", "up", "upwards", "to the top"),
    "down": ("down", "down", "downwards", "to the bottom"),
}
_GROUNDS = ("on a {} background", "on a {} background", "on {}", "in front of a {} background")
_FIRST = ("{ground}, {thing} {motion}", "{motion}: {thing} {ground}", "a video of {thing} {motion} {ground}")


def prompt_for(clip: Clip, rng: np.random.Generator | None = None) -> str:
    """What the clip shows, in words that are true of it.

    Without `rng` the plain sentence that names everything (`a small red circle moving right on a dark
    background`); with it a paraphrase, which leaves out the background or the size half of the time, and
    each of colour, shape and direction now and then.
    """
    shape, colour, direction = clip.combination
    if rng is None:
        motion = "standing still" if direction == "still" else f"moving {direction}"
        return f"a {clip.size} {colour} {shape} {motion} on a {clip.background} background"
    keeps = rng.random(5) < (0.5, 0.95, 0.95, 0.95, 0.5)
    size, colour, shape = (
        str(rng.choice(_NAMES.get(word, (word,)))) if kept else ""
        for word, kept in zip((clip.size, colour, shape), keeps[:3], strict=True)
    )
    article = rng.choice(("a", "a", "one", "the", ""))
    thing = f"{article} {size} {colour} {shape or rng.choice(('shape', 'thing'))}"
    motion = str(rng.choice(_STILL)) if direction == "still" else _moving(direction, rng)
    motion = motion if keeps[3] else ""
    ground = str(rng.choice(_GROUNDS)).format(rng.choice(_NAMES[clip.background])) if keeps[4] else ""
    pattern = str(rng.choice(_FIRST)) if rng.random() < 0.3 else "{thing} {motion} {ground}"
    return _tidy(pattern.format(thing=thing, motion=motion, ground=ground))


def _moving(direction: str, rng: np.random.Generator) -> str:
    return f"{rng.choice(_VERBS)} {rng.choice(_WAYS[direction])}"


def _tidy(text: str) -> str:
    return " ".join(text.split()).replace(" ,", ",").replace(" :", ":").strip(",: ")


def vocabulary() -> tuple[str, ...]:
    """Every word that a prompt of ours may hold, sorted."""
    phrases = [*COLOURS, *SIZES, *BACKGROUNDS, *SHAPES, *_VERBS, *_STILL, "a one the shape thing video of"]
    phrases += [phrase for names in (*_NAMES.values(), *_WAYS.values()) for phrase in names]
    phrases += [phrase.replace("{}", "") for phrase in _GROUNDS]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))
