"""Prompts with what they ask for, as their words say it. The prompts are those of the training's world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clips import HELD_OUT, TRAINED, Combination, draw_clip, prompt_for

__all__ = ["QUESTIONS", "Case", "draw", "draw_short", "read"]

#: What a prompt may ask for.
QUESTIONS = ("colour", "direction", "shape", "background", "size")

#: Each answer, and the words of a prompt that ask for it.
_WORDS = {
    "colour": {"purple": "purple violet"}
    | {name: name for name in ("red", "orange", "yellow", "green", "cyan", "blue", "pink")},
    "direction": {
        "left": "left leftwards",
        "right": "right rightwards",
        "up": "up upwards top",
        "down": "down downwards bottom",
        "still": "still not resting",
    },
    "shape": {
        "circle": "circle disc ball",
        "square": "square box",
        "triangle": "triangle",
        "star": "star",
    },
    "background": {"dark": "dark black", "light": "light white"},
    "size": {"small": "small little tiny", "large": "large big huge"},
}

_MAX_SEED = 2**32


@dataclass(frozen=True)
class Case:
    """A prompt, the seed of its clip, and what it asks for: None where it leaves that open."""

    prompt: str
    seed: int
    colour: str | None
    direction: str | None
    shape: str | None
    background: str | None
    size: str | None


def read(prompt: str, seed: int) -> Case:
    """What a prompt of the training's world asks for."""
    words = set(prompt.replace(",", " ").replace(":", " ").split())
    wanted = {
        question: next((name for name, said in names.items() if words & set(said.split())), None)
        for question, names in _WORDS.items()
    }
    return Case(prompt, seed, **wanted)


def draw(count: int, seed: int, *, held_out: bool) -> list[Case]:
    """Paraphrases that ask for a colour, a direction, a shape and a background; the size is left to chance.

    The combinations come in turn, so that each has as many clips as the others; all else is random.
    """
    rng = np.random.default_rng([seed, held_out])
    combinations = HELD_OUT if held_out else TRAINED
    order = rng.permutation(len(combinations))
    return [_asking(rng, combinations[order[number % len(order)]]) for number in range(count)]


def _asking(rng: np.random.Generator, combination: Combination) -> Case:
    while True:
        clip = draw_clip(rng, [combination])
        case = read(prompt_for(clip, rng), int(rng.integers(_MAX_SEED)))
        if None not in (case.colour, case.direction, case.shape, case.background):
            return case


def draw_short(count: int, seed: int, *, held_out: bool) -> list[Case]:
    """As people type: `a red circle moving right`, and nothing of the background or the size."""
    rng = np.random.default_rng([seed, held_out, 1])
    combinations = HELD_OUT if held_out else TRAINED
    order = rng.permutation(len(combinations))
    return [
        _short(combinations[order[number % len(order)]], int(rng.integers(_MAX_SEED)))
        for number in range(count)
    ]


def _short(combination: Combination, seed: int) -> Case:
    motion = "standing still" if combination.direction == "still" else f"moving {combination.direction}"
    return read(f"a {combination.colour} {combination.shape} {motion}", seed)
