"""The judge, on clips whose content is known because they were drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.prompt_following.colours import lightness_of
from bench.prompt_following.judge import judge
from bench.prompt_following.masks import Floats, Video, components
from bench.prompt_following.shapes import shapes_of
from tests.bench.clips import ALL, decoded, drawn, encoded, every_15th, expected, of_seen
from training.clips import BACKGROUNDS, COLOURS, SHAPES, SIZES, Clip, Combination, render

QUESTIONS = ("colour", "direction", "shape", "background", "size", "one object")


def shares(clips: list[Clip], seen_as: Callable[[Clip], Video], shown: float = 1.0) -> dict[str, float]:
    """Of each question, the share of clips that the judge is right about."""
    right: Counter[str] = Counter()
    for clip in clips:
        found = of_seen(judge(seen_as(clip), shown))
        right.update(
            question for question, a, b in zip(QUESTIONS, found, expected(clip), strict=True) if a == b
        )
    return {question: right[question] / len(clips) for question in QUESTIONS}


def clip_of(
    shape: str = "circle",
    colour: str = "red",
    direction: str = "right",
    background: str = "dark",
    size: str = "large",
) -> Clip:
    radius = 11.5 if size == "large" else 8.5
    return Clip(Combination(shape, colour, direction), background, size, (32.0, 32.0), radius, 26.0)


def test_the_fast_clips_are_frames_of_the_slow_ones() -> None:
    for clip in drawn(5, seed=1):
        np.testing.assert_allclose(every_15th(clip), render(clip)[::15], atol=1)  # as they are rounded


def test_it_is_right_of_what_was_drawn() -> None:
    found = shares(drawn(1200, seed=2), every_15th)
    assert min(found.values()) >= 0.99, found


def test_it_is_right_after_the_projects_own_encoder(tmp_path: Path) -> None:
    found = shares(drawn(200, seed=3), lambda clip: decoded(encoded(every_15th(clip), tmp_path / "v.mp4")))
    assert min(found.values()) >= 0.99, found


@pytest.mark.parametrize("frames", [7, 13, 31, 61])
def test_it_is_right_of_the_beginning_of_a_clip(frames: int) -> None:
    found = shares(drawn(40, seed=8), lambda clip: render(clip, frames), (frames - 1) / 60)
    assert min(found.values()) >= 0.98, found


@pytest.mark.parametrize("side", [96, 128])
def test_it_is_right_at_other_sizes(side: int) -> None:
    found = shares(drawn(40, seed=4), lambda clip: every_15th(clip, side))
    assert min(found.values()) >= 0.98, found


def test_it_is_right_of_pixels_as_a_model_makes_them() -> None:
    rng = np.random.default_rng(5)

    def blurred_and_noisy(clip: Clip) -> Video:
        video = every_15th(clip).astype(np.float64)
        for axis in (1, 2):
            video = (np.roll(video, 1, axis) + 2 * video + np.roll(video, -1, axis)) / 4
        return (video + rng.normal(0, 6, video.shape)).round().clip(0, 255).astype(np.uint8)

    found = shares(drawn(100, seed=6), blurred_and_noisy)
    assert min(found.values()) >= 0.98, found


def test_every_combination_is_told_from_every_other() -> None:
    told = {of_seen(judge(every_15th(clip_of(*combination))))[:3] for combination in ALL}
    assert len(told) == len(ALL) == 160


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("size", "radius"), [("small", SIZES["small"][1] + 0.4), ("large", SIZES["large"][0] - 0.4)]
)
def test_a_size_that_is_a_little_off_is_still_the_size(shape: str, size: str, radius: float) -> None:
    assert judge(every_15th(replace(clip_of(shape), radius=radius))).size == size


MOVING = clip_of("triangle", "orange", "right", "light")


@pytest.mark.parametrize(
    ("change", "question", "instead"),
    [
        pytest.param(lambda v: v[::-1], "direction", "left", id="reversed"),
        pytest.param(lambda v: v[:, :, ::-1], "direction", "left", id="mirrored"),
        pytest.param(lambda v: v.swapaxes(1, 2), "direction", "down", id="turned"),
        pytest.param(lambda v: v[[0, 2, 4, 3, 1]], "direction", "unclear", id="shuffled"),
        pytest.param(lambda v: np.repeat(v[2:3], 5, 0), "direction", "still", id="frozen"),
        pytest.param(lambda v: v[..., ::-1], "colour", "blue", id="channels swapped"),
        pytest.param(lambda v: v[..., [0, 2, 1]], "colour", "pink", id="green and blue swapped"),
        pytest.param(lambda v: 255 - v, "background", "dark", id="negative"),
    ],
)
def test_a_mutation_is_noticed(change: Callable[[Video], Video], question: str, instead: str) -> None:
    video = every_15th(MOVING)
    assert of_seen(judge(video)) == expected(MOVING)
    assert getattr(judge(np.ascontiguousarray(change(video))), question) == instead


RNG = np.random.default_rng(9)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(sorted(range(61), key=lambda i: (i // 6, -i)), id="every six reversed"),
        pytest.param([*np.arange(60).reshape(15, 4)[:, [0, 3, 2, 1]].ravel(), 60], id="every four turned"),
        pytest.param(
            [*RNG.permuted(np.arange(60).reshape(12, 5), axis=1).ravel(), 60], id="every five shuffled"
        ),
    ],
)
def test_frames_that_change_places_nearby_are_noticed(order: list[int]) -> None:
    video = render(MOVING)
    assert judge(video).direction == "right"
    assert judge(video[order]).direction == "unclear"


@pytest.mark.parametrize("at", [1, 20, 30, 60])
def test_what_stands_and_jumps_does_not_move(at: int) -> None:
    first, last = render(MOVING)[[0, -1]]
    assert judge(np.stack([first] * at + [last] * (61 - at))).direction == "unclear"


def test_what_stutters_moves() -> None:
    assert judge(np.repeat(render(MOVING)[::6], 6, axis=0)).direction == "right"


def test_a_way_that_is_neither_short_nor_long_is_unclear() -> None:
    ways = {
        travel: judge(every_15th(replace(MOVING, travel=travel))).direction for travel in (2.0, 5.0, 12.0)
    }
    assert ways == {2.0: "still", 5.0: "unclear", 12.0: "right"}


def test_a_background_with_a_colour_is_neither_dark_nor_light() -> None:
    assert lightness_of(np.array(BACKGROUNDS["dark"], np.float32)) == "dark"
    assert lightness_of(np.array((0, 20, 110), np.float32)) == "unclear"  # as light as a dark one


@pytest.mark.parametrize("background", list(BACKGROUNDS))
@pytest.mark.parametrize(
    "levels",
    [
        pytest.param(30 * (np.arange(30) % 3 == 0), id="every third frame is lighter"),
        pytest.param(30 * (np.arange(30) == 12), id="one frame is lighter"),
        pytest.param(np.linspace(-8, 8, 30), id="each frame is a little lighter"),
        pytest.param(np.linspace(0, 11, 30), id="a fifth are too light"),
    ],
)
def test_a_background_that_flickers_or_drifts_is_unclear(background: str, levels: Floats) -> None:
    video = np.repeat(every_15th(clip_of(background=background)), 6, axis=0)
    assert judge(video).background == background
    changed = (video + levels[:, None, None, None]).clip(0, 255).round().astype(np.uint8)
    assert judge(changed).background == "unclear"


def limited(video: Video) -> Video:
    """Full range as it looks where its numbers were squeezed and are not spread again."""
    return (video.astype(np.float32) * 219 / 255 + 16).round().astype(np.uint8)


def expanded(video: Video) -> Video:
    return ((video.astype(np.float32) - 16) * 255 / 219).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("background", list(BACKGROUNDS))
@pytest.mark.parametrize("change", [limited, expanded])
def test_a_wrong_range_is_noticed_on_both_backgrounds(
    background: str, change: Callable[[Video], Video]
) -> None:
    assert judge(change(every_15th(clip_of(background=background)))).background == "unclear"


@pytest.mark.parametrize("colour", sorted(set(COLOURS) - {"green"}))
def test_swapped_channels_are_another_colour(colour: str) -> None:
    # Only green, whose red and blue are alike, looks much the same.
    assert judge(every_15th(clip_of(colour=colour))[..., ::-1]).colour != colour


def both(one: Clip, other: Clip) -> Video:
    """Two things in one clip; what stands out of the background of either is there."""
    a, b = every_15th(one), every_15th(other)
    return np.where((a == BACKGROUNDS[one.background]).all(-1, keepdims=True), b, a)


def shifted(clip: Clip, x: float, y: float) -> Clip:
    return Clip(clip.combination, clip.background, clip.size, (x, y), clip.radius, clip.travel)


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_a_second_object_is_counted(colour: str) -> None:
    one = shifted(clip_of("circle", "red", "right", size="small"), 32, 20)
    other = shifted(clip_of("star", colour, "left", size="small"), 32, 46)
    assert judge(both(one, other)).objects == 2


@pytest.mark.parametrize(("colour", "background"), [("pink", "light"), ("green", "dark")])
def test_a_second_object_that_is_pale_is_counted(colour: str, background: str) -> None:
    one = shifted(clip_of("circle", "red", "right", background, size="small"), 32, 20)
    other = shifted(clip_of("star", colour, "left", background, size="small"), 32, 46)
    alone = every_15th(one).astype(np.float32)
    pale = (0.75 * alone + 0.25 * both(one, other)).round().astype(np.uint8)
    assert judge(pale).objects == 2


def test_a_second_object_in_some_frames_is_no_one_object() -> None:
    one = shifted(clip_of("circle", "red", "right", size="small"), 32, 20)
    other = shifted(clip_of("star", "blue", "left", size="small"), 32, 46)
    video = every_15th(one)
    video[3:] = both(one, other)[3:]
    assert not judge(video).one_object


def test_a_background_that_is_another_for_a_while_is_none() -> None:
    video = every_15th(clip_of(background="dark"))
    video[2] = every_15th(clip_of(background="light"))[2]
    assert not judge(video).one_object


def test_an_object_that_is_away_for_a_while_is_no_one_object() -> None:
    video = every_15th(clip_of())
    video[2] = BACKGROUNDS["dark"]
    assert not judge(video).one_object


def test_a_colour_or_a_shape_that_changes_on_the_way_is_unclear() -> None:
    start, end = every_15th(clip_of("circle", "red")), every_15th(clip_of("square", "blue"))
    seen = judge(np.concatenate([start[:3], end[3:]]))
    assert (seen.colour, seen.shape) == ("unclear", "unclear")
    assert seen.direction == "right"


def test_nothing_is_nothing_and_noise_is_no_object() -> None:
    empty = np.full((5, 64, 64, 3), 22, np.uint8)
    seen = judge(empty)
    assert (seen.colour, seen.direction, seen.shape, seen.objects) == ("none", "none", "none", 0)
    noise = np.random.default_rng(7).integers(0, 256, empty.shape, dtype=np.uint8)
    seen = judge(noise)
    assert not seen.one_object
    assert seen.background == "unclear"


def test_a_shape_that_nobody_taught_is_unclear() -> None:
    bar = np.full((5, 64, 64, 3), 22, np.uint8)
    bar[:, 30:34, 12:52] = COLOURS["red"]
    seen = judge(bar)
    assert (seen.colour, seen.shape, seen.one_object) == ("red", "unclear", True)


@pytest.mark.parametrize(
    ("waves", "name"),
    [
        pytest.param({5: 0.02}, "circle", id="hardly wavy"),
        pytest.param({5: 0.16}, "unclear", id="between circle and star"),
        pytest.param({5: 0.32}, "star", id="five tips"),
        pytest.param({5: 0.32, 2: 0.2}, "star", id="five tips, askew"),
        pytest.param({3: 0.28}, "triangle", id="three tips"),
        pytest.param({2: 0.5}, "unclear", id="long"),
    ],
)
def test_what_is_like_two_shapes_or_none_is_unclear(waves: dict[int, float], name: str) -> None:
    """Outlines whose distance from the middle is 1 and a few waves a turn."""
    y, x = np.mgrid[:64, :64] - 31.5
    angle = np.arctan2(y, x)
    edge = 14 * (1 + sum(height * np.cos(count * angle) for count, height in waves.items()))
    cover = np.clip(edge - np.hypot(x, y) + 0.5, 0, 1).astype(np.float32)
    assert shapes_of(cover[None]) == [name]


@pytest.mark.parametrize("hole", [3, 7, 11])
def test_a_ring_is_no_circle(hole: int) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    edges = np.minimum(14 - np.hypot(x, y), np.hypot(x, y) - hole)
    ring = np.clip(edges + 0.5, 0, 1).astype(np.float32)
    assert shapes_of(ring[None]) == ["unclear"]


def test_parts_are_connected_over_edges_whatever_their_form() -> None:
    rows = (
        "#####..#",
        "#...#.#.",
        "#.#.#...",
        "#.###...",
        "#.......",
        "######.#",
    )
    frame = np.array([[character == "#" for character in row] for row in rows])
    labels = components(np.stack([frame, ~frame, np.zeros_like(frame)]))
    assert [sorted(Counter(part[part > 0].tolist()).values()) for part in labels] == [[1, 1, 1, 21], [24], []]
    assert not set(labels[0].ravel()) & set(labels[1].ravel()) - {0}
