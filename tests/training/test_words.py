"""The prompts of the training: most are true, some have words that nobody knows, some are empty."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from training.clips import Clip, Combination, vocabulary
from training.words import drawn_prompt

STAR = Clip(Combination("star", "red", "still"), "dark", "large", (32, 32), 11.5, 24)
CIRCLE = replace(STAR, combination=Combination("circle", "red", "still"))
MOVING = replace(STAR, combination=Combination("circle", "red", "left"))
KNOWN = set(vocabulary())


def kinds(clip: Clip, count: int = 2000) -> Counter[str]:
    rng = np.random.default_rng(3)
    return Counter(kind(drawn_prompt(clip, rng)) for _ in range(count))


def kind(prompt: str) -> str:
    words = prompt.removesuffix(".").replace(",", "").replace(":", "").split()
    if not words:
        return "empty"
    if len(set(words) - KNOWN) == 0:
        return "repeated" if len(words) > 20 else "true"
    return "strange" if set(words) & KNOWN - {"a", "the", "on", "of", "to", "in"} else "nonsense"


def test_most_prompts_say_what_the_clip_shows() -> None:
    for clip in (STAR, MOVING):
        seen = kinds(clip)
        assert 0.82 < seen["true"] / 2000 < 0.92
        assert 0.07 < seen["strange"] / 2000 < 0.13
        assert seen["repeated"] > 0
        assert seen["empty"] == 0
        assert seen["nonsense"] <= 20  # what it says beside strange words may be as little as "thing"


def test_what_says_nothing_is_said_of_circles_that_stand_still() -> None:
    seen = kinds(CIRCLE)
    assert 0.3 < seen["empty"] / 2000 < 0.4
    assert 0.3 < seen["nonsense"] / 2000 < 0.4
    assert seen["true"] / 2000 > 0.15
