"""The renderer shows what the labels say, the words are true, and what is held out is never drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import cos, pi, radians, sin
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.clips import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    HELD_OUT,
    SHAPES,
    SIZES,
    TRAINED,
    Clip,
    Combination,
    draw_clip,
    prompt_for,
    render,
    vocabulary,
)

RADIUS = 11.5  # pixels


def a_clip(shape: str = "circle", colour: str = "red", direction: str = "right", size: str = "large") -> Clip:
    return Clip(Combination(shape, colour, direction), "dark", size, (32.0, 30.0), RADIUS, 24.0)


def cover(clip: Clip, frames: int = 61, side: int = 64) -> NDArray[np.float64]:
    """How much of each pixel the shape covers, 0 to 1, in the channel where it stands out most."""
    ground = np.array(BACKGROUNDS[clip.background], float)
    ink = np.array(COLOURS[clip.combination.colour], float)
    channel = int(np.abs(ink - ground).argmax())
    pixels = render(clip, frames, side, side)[..., channel]
    covered: NDArray[np.float64] = (pixels - ground[channel]) / (ink - ground)[channel]
    return covered


def centroid(covered: NDArray[np.float64]) -> tuple[float, float]:
    rows, columns = np.indices(covered.shape)
    total = covered.sum()
    return float((columns * covered).sum() / total + 0.5), float((rows * covered).sum() / total + 0.5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_it_moves_as_it_says(shape: str, direction: str) -> None:
    covered = cover(a_clip(shape, direction=direction))
    step = np.array(DIRECTIONS[direction])
    for frame in (0, 30, 60):
        expected = np.array((32.0, 30.0)) + step * (frame - 30) / 60 * 24.0
        assert centroid(covered[frame]) == pytest.approx(tuple(expected), abs=0.1)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", pi),
        ("square", (2 * 1.25 * cos(pi / 4)) ** 2),
        ("triangle", 3 / 2 * 1.45**2 * sin(2 * pi / 3)),
        ("star", 5 * 1.45 * 0.62 * sin(pi / 5)),
    ],
)
@pytest.mark.parametrize("side", [64, 128])
def test_a_shape_has_its_area(shape: str, area: float, side: int) -> None:
    covered = cover(a_clip(shape), frames=1, side=side)[0]
    assert covered.sum() == pytest.approx(area * RADIUS**2 * (side / 64) ** 2, rel=0.02)


def test_edges_are_smoothed_and_the_rest_is_plain() -> None:
    frame = render(a_clip())[30]
    colours = {tuple(map(int, pixel)) for pixel in frame.reshape(-1, 3)}
    assert {COLOURS["red"], BACKGROUNDS["dark"]} < colours
    assert tuple(frame[30, 32]) == COLOURS["red"]
    assert tuple(frame[0, 0]) == BACKGROUNDS["dark"]


def test_a_shorter_clip_is_the_beginning_of_a_longer_one() -> None:
    assert np.array_equal(render(a_clip(), 13), render(a_clip(), 61)[:13])


#: How far a shape reaches, in radii, and where: degrees from the right, clockwise.
TIPS = {
    "circle": (1.0, range(0, 360, 90)),
    "square": (1.25, range(45, 360, 90)),
    "triangle": (1.45, range(270, 630, 120)),
    "star": (1.45, range(270, 630, 72)),
}


def tips(clip: Clip, reach: float = 1.0) -> list[tuple[float, float]]:
    """Where its tips (x, y) are halfway, or a point at `reach` of the way to each."""
    distance, angles = TIPS[clip.combination.shape]
    x, y = clip.centre
    way = reach * distance * clip.radius
    return [(x + way * cos(radians(angle)), y + way * sin(radians(angle))) for angle in angles]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_ends_at_its_tips(shape: str) -> None:
    clip = a_clip(shape)
    covered = cover(clip)[30]
    assert all(covered[int(y), int(x)] > 0.5 for x, y in tips(clip, 0.85))
    assert all(covered[int(y), int(x)] < 0.1 for x, y in tips(clip, 1.15))


class Ends(np.random.Generator):
    """Draws from the ends of each range."""

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]  # no more is called
        return float(self.choice((low, high)))


def test_a_shape_stays_whole_within_the_frame() -> None:
    rng = Ends(np.random.PCG64(0))
    for _ in range(3000):
        clip = draw_clip(rng)
        step = DIRECTIONS[clip.combination.direction]
        for way in (-clip.travel / 2, clip.travel / 2):
            for x, y in tips(clip):
                assert 0 <= x + way * step[0] <= 64, clip
                assert 0 <= y + way * step[1] <= 64, clip


def test_a_shape_may_leave_the_frame() -> None:
    clip = replace(a_clip(), centre=(2.0, 70.0))
    assert render(clip).shape == (61, 64, 64, 3)


def test_the_same_seed_draws_the_same_clip() -> None:
    one, again, other = (draw_clip(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_what_is_held_out_is_never_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_clip(rng).combination for _ in range(3000)}
    assert drawn == set(TRAINED)
    assert not drawn & set(HELD_OUT)


def test_each_part_of_what_is_held_out_is_known_from_others() -> None:
    assert len(set(HELD_OUT)) == 20
    assert set(HELD_OUT) | set(TRAINED) == {Combination(*c) for c in product(SHAPES, COLOURS, DIRECTIONS)}
    for place, words in enumerate((SHAPES, COLOURS, DIRECTIONS)):
        assert {held[place] for held in HELD_OUT} == set(words)
    pairs = {c[:2] for c in TRAINED} | {c[1:] for c in TRAINED} | {(c.shape, c.direction) for c in TRAINED}
    assert len(pairs) == 4 * 8 + 8 * 5 + 4 * 5


def test_the_plain_prompt_names_everything() -> None:
    assert prompt_for(a_clip()) == "a large red circle moving right on a dark background"
    still = a_clip("star", "pink", "still", "small")
    assert prompt_for(still) == "a small pink star standing still on a dark background"


def test_the_card_says_what_is_so() -> None:
    card = (Path(__file__).parents[2] / "training" / "MODEL_CARD.md").read_text("utf-8")
    for words in (SHAPES, COLOURS):
        assert f": {', '.join(words)}\n" in card
    assert f"{len(HELD_OUT)} of the {len(HELD_OUT) + len(TRAINED)} combinations" in card


#: What each word says; the other words say nothing.
MEANINGS = {
    **{word: ("shape", word) for word in SHAPES},
    "disc": ("shape", "circle"),
    "ball": ("shape", "circle"),
    "box": ("shape", "square"),
    **{word: ("colour", word) for word in COLOURS},
    "violet": ("colour", "purple"),
    **{word: ("size", word) for word in SIZES},
    **dict.fromkeys(("little", "tiny"), ("size", "small")),
    **dict.fromkeys(("big", "huge"), ("size", "large")),
    **{word: ("background", word) for word in BACKGROUNDS},
    "black": ("background", "dark"),
    "white": ("background", "light"),
    **{word: ("direction", word.removesuffix("wards")) for word in ("left", "right", "up", "down")},
    **{f"{word}wards": ("direction", word) for word in ("left", "right", "up", "down")},
    "top": ("direction", "up"),
    "bottom": ("direction", "down"),
    **dict.fromkeys(("still", "resting", "not"), ("direction", "still")),
}


def test_paraphrases_are_true_and_of_known_words() -> None:
    rng = np.random.default_rng(0)
    named = dict.fromkeys(("shape", "colour", "direction", "size", "background"), 0)
    for _ in range(1000):
        clip = draw_clip(rng)
        shape, colour, direction = clip.combination
        truth = {"shape": shape, "colour": colour, "direction": direction}
        truth |= {"size": clip.size, "background": clip.background}
        words = prompt_for(clip, rng).replace(",", "").replace(":", "").split()
        assert set(words) <= set(vocabulary())
        said = {MEANINGS[word] for word in words if word in MEANINGS}
        assert all(truth[attribute] == value for attribute, value in said), (clip, words)
        for attribute, _ in said:
            named[attribute] += 1
    assert all(400 < named[attribute] < 600 for attribute in ("size", "background"))
    assert all(900 < named[attribute] < 1000 for attribute in ("shape", "colour", "direction"))
