"""What a model does beside following its prompt: seeds, guidance, and prompts that it was never taught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bench.prompt_following.cases import Case
from bench.prompt_following.generator import Maker
from bench.prompt_following.judge import Seen, judge
from bench.prompt_following.scores import Score
from bench.prompt_following.scoring import run
from bench.table import Row

__all__ = ["ODD_PROMPTS", "Finding", "guidance_counts", "odd_prompts", "plausible", "seeds_count"]

#: What nobody taught the model, by what is odd about it.
ODD_PROMPTS = {
    "an empty prompt": "",
    "unknown words": "flibber quuxing the zorgle",
    "a sentence of another world": "two astronauts play chess under a waterfall at dusk, cinematic",
    "German": "ein roter Kreis bewegt sich nach rechts",
    "Chinese": "一个红色的圆向右移动",
    "signs alone": "!?… 🎬 <b>%s</b> ';--",
    "2,000 characters": ("a red circle moving right, and then " * 60)[:2000],
}

_SEEDS = 4  # for each odd prompt, and to compare seeds
_PLAUSIBLE = 0.9  # the share of odd prompts' clips that are to be like the others
_DIFFERENT = 0.5  # of 255, on average over a clip, most of which is its background
_COLOURLESS = ("white", "grey", "black")


@dataclass(frozen=True)
class Finding:
    """A row of the table, and whether it is what it should be."""

    row: Row
    good: bool


def plausible(seen: Seen) -> bool:
    """Whether a clip is like those of the training.

    It shows one thing with a colour and a shape, which goes one way or stands still, on a background.
    """
    said = (seen.colour, seen.shape, seen.direction, seen.background)
    return seen.one_object and "unclear" not in said and seen.colour not in _COLOURLESS


def odd_prompts(maker: Maker) -> Iterator[Finding]:
    """A clip for each odd prompt and some seeds: none fails, and nearly all are plausible."""
    right = []
    for what, prompt in ODD_PROMPTS.items():
        clips = maker.clips([(prompt, seed) for seed in range(_SEEDS)])
        seen = [judge(clip.frames) for clip in clips]
        good = [plausible(one) for one in seen]
        right += good
        shown = ", ".join(f"{one.colour} {one.shape} {one.direction}" for one in seen)
        yield Finding(Row(what, "plausible", f"{sum(good)}/{len(good)} ({shown})"), True)
    score = Score(sum(right), len(right))
    yield Finding(Row("odd prompts", "plausible", str(score), f"{_PLAUSIBLE:.0%}"), score.share >= _PLAUSIBLE)


def seeds_count(maker: Maker, cases: Sequence[Case]) -> Iterator[Finding]:
    """The same seed gives the same bytes; other seeds give other clips."""
    asked = [(case.prompt, case.seed) for case in cases]
    same = [
        np.array_equal(first.frames, second.frames)
        for first, second in zip(maker.clips(asked), maker.clips(asked), strict=True)
    ]
    row = Row("the same seed", "the same bytes", f"{sum(same)}/{len(same)}", "all")
    yield Finding(row, all(same))
    others = maker.clips([(cases[0].prompt, seed) for seed in range(_SEEDS)])
    apart = [
        float(np.abs(one - other).mean())
        for one, other in combinations([clip.frames.astype(np.int16) for clip in others], 2)
    ]
    row = Row("other seeds", "least mean difference, of 255", f"{min(apart):.1f}", f"{_DIFFERENT:.1f}")
    yield Finding(row, min(apart) >= _DIFFERENT)


def guidance_counts(
    maker: Maker,
    cases: Sequence[Case],
    usual: Score,
    **options: Any,  # noqa: ANN401  # a request's own fields
) -> Finding:
    """Without guidance, prompts are followed less than with the profile's.

    `usual` is the profile's score of `cases` with the same `options`.
    """
    without = run(maker, cases, guidance_scale=1.0, **options).whole
    row = Row("guidance 1", "right, all of it", str(without), f"< {usual.share:.1%}, the default's")
    return Finding(row, without.share < usual.share)
