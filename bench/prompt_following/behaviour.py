"""What a model does beside following its prompt: seeds, guidance, and prompts that are odd or long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from bench.prompt_following.cases import Case, read
from bench.prompt_following.generator import Maker
from bench.prompt_following.judge import Seen
from bench.prompt_following.scores import Score
from bench.prompt_following.scoring import look, run
from bench.table import Row

__all__ = [
    "ODD_PROMPTS",
    "Finding",
    "guidance_matters",
    "long_prompt",
    "odd_prompts",
    "plausible",
    "seeds_matter",
    "sign_test",
]

#: Prompts that say nothing the model knows, by what is odd about them.
ODD_PROMPTS = {
    "an empty prompt": "",
    "unknown words": "flibber quuxing the zorgle",
    "a sentence of another world": "two astronauts play chess under a waterfall at dusk, cinematic",
    "German": "ein roter Kreis bewegt sich nach rechts",
    "Chinese": "一个红色的圆向右移动",
    "signs alone": "!?… 🎬 <b>%s</b> ';--",
}

#: As long as a prompt may be, and it says one thing all along.
_LONG = ("a red circle moving right, then " * 63)[:2000]

_SEEDS = 4  # to compare seeds
_ODD_SEEDS = 10  # for each odd prompt and the long one
_PLAUSIBLE = 0.9  # the share of odd prompts' clips that are to be like the others
_FOLLOWED = 0.75  # the share of the long prompt's clips that are to be as it says
_SIGNIFICANCE = 0.05  # the highest p-value that is not put down to chance
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
        clips = maker.clips([(prompt, seed) for seed in range(_ODD_SEEDS)])
        seen = [look(clip) for clip in clips]
        good = [plausible(one) for one in seen]
        right += good
        shown = ", ".join(f"{one.colour} {one.shape} {one.direction}" for one in seen)
        yield Finding(Row(what, "plausible", f"{sum(good)}/{len(good)} ({shown})"), True)
    score = Score(sum(right), len(right))
    yield Finding(Row("odd prompts", "plausible", str(score), f"{_PLAUSIBLE:.0%}"), score.share >= _PLAUSIBLE)


def long_prompt(maker: Maker) -> Finding:
    """The longest prompt that the door takes is followed as a short one is."""
    score = run(maker, [read(_LONG, seed) for seed in range(_ODD_SEEDS)]).whole
    row = Row(f"{len(_LONG):,} characters", "right, all of it", str(score), f"{_FOLLOWED:.0%}")
    return Finding(row, score.share >= _FOLLOWED)


def seeds_matter(maker: Maker, cases: Sequence[Case]) -> Iterator[Finding]:
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


def guidance_matters(
    maker: Maker,
    cases: Sequence[Case],
    usual: Sequence[bool],
    **options: Any,  # noqa: ANN401  # a request's own fields
) -> Finding:
    """Without guidance, fewer clips are right than with the profile's, and by more than chance.

    `usual` says which of `cases` are right with the profile's guidance and the same `options`. Fewer than
    five cases cannot show it.
    """
    report = run(maker, cases, guidance_scale=1.0, **options)
    pairs = list(zip(usual, report.all_right, strict=True))
    p = sign_test(pairs.count((True, False)), pairs.count((False, True)))
    aim = f"< {sum(usual)}, the default's, and p <= {_SIGNIFICANCE:g}"
    row = Row("guidance 1", "right, all of it", f"{report.whole}, p = {p:.2g}", aim)
    return Finding(row, p <= _SIGNIFICANCE)


def sign_test(better: int, worse: int) -> float:
    """The p-value of the exact one-sided sign test: so many of the differing pairs, or more, are better.

    The null hypothesis: each is as likely to be worse. Where no pair differs, it is 1.
    """
    differ = better + worse
    return float(sum(comb(differ, k) for k in range(better, differ + 1)) / 2**differ)
