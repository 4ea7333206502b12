"""Confidence intervals, what a prompt asks for, and how answers become scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.prompt_following.behaviour import plausible, sign_test
from bench.prompt_following.cases import QUESTIONS, Case, draw, draw_short, read
from bench.prompt_following.judge import Seen
from bench.prompt_following.scores import Score, wilson
from bench.prompt_following.scoring import AIMS, Report, answers
from training.clips import HELD_OUT, TRAINED, Combination, draw_clip, prompt_for

SEEN = Seen("red", "right", "circle", "dark", 1, "large", (225, 25, 35), (22, 22, 28))


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (400, 400, 0.9905, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval_is_the_published_one(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)


def test_a_score_says_how_sure_it_is() -> None:
    assert str(Score(398, 400)) == "398/400 = 99.5% (98.2% to 99.9%)"
    assert Score(0, 0).share == 0


def test_a_prompt_is_read_as_it_was_written() -> None:
    rng = np.random.default_rng(8)
    left_open: Counter[str] = Counter()
    for _ in range(3000):
        clip = draw_clip(rng)
        case = read(prompt_for(clip, rng), 0)
        shape, colour, direction = clip.combination
        meant = Case(case.prompt, 0, colour, direction, shape, clip.background, clip.size)
        for question in QUESTIONS:
            said = getattr(case, question)
            assert said in (getattr(meant, question), None), case
            left_open[question] += said is None
    # As often as the words leave them open, and no word of a question is read as none.
    assert all(120 < left_open[question] < 180 for question in ("colour", "direction", "shape"))
    assert all(1400 < left_open[question] < 1600 for question in ("background", "size"))


def test_the_plain_sentence_names_everything() -> None:
    clip = draw_clip(np.random.default_rng(9))
    case = read(prompt_for(clip), 5)
    assert (case.shape, case.colour, case.direction) == clip.combination
    assert (case.background, case.size, case.seed) == (clip.background, clip.size, 5)


@pytest.mark.parametrize(("held_out", "combinations"), [(True, HELD_OUT), (False, TRAINED)])
def test_cases_ask_for_every_combination_equally_often(
    held_out: bool, combinations: tuple[Combination, ...]
) -> None:
    cases = draw(2 * len(combinations), 0, held_out=held_out)
    asked = Counter(Combination(str(c.shape), str(c.colour), str(c.direction)) for c in cases)
    assert asked == dict.fromkeys(combinations, 2)
    assert all(case.background for case in cases)
    assert len({case.seed for case in cases}) == len(cases)
    assert {c.background for c in draw_short(len(combinations), 0, held_out=held_out)} == {None}


def test_cases_follow_from_the_seed() -> None:
    assert draw(30, 1, held_out=True) == draw(30, 1, held_out=True)
    assert draw(30, 1, held_out=True)[:10] == draw(10, 1, held_out=True)
    assert draw(30, 1, held_out=True) != draw(30, 2, held_out=True)


def test_only_what_the_prompt_names_is_asked() -> None:
    case = read("a red circle moving right", 0)
    assert answers(case, SEEN) == dict.fromkeys(
        ("colour", "direction", "shape", "background", "one object"), True
    )
    case = read("a small red circle moving up on a light background", 0)
    assert [question for question, right in answers(case, SEEN).items() if not right] == [
        "direction",
        "background",
        "size",
    ]
    assert not answers(case, replace(SEEN, objects=2))["one object"]


def test_a_background_that_the_prompt_leaves_open_is_any_that_is_clear() -> None:
    case = read("a red circle moving right", 0)
    right = {name: answers(case, replace(SEEN, background=name)) for name in ("dark", "light", "unclear")}
    assert {name: answered["background"] for name, answered in right.items()} == {
        "dark": True,
        "light": True,
        "unclear": False,
    }


@pytest.mark.parametrize(
    ("better", "worse", "p"), [(0, 0, 1.0), (1, 0, 0.5), (4, 0, 1 / 16), (5, 0, 1 / 32), (8, 1, 10 / 512)]
)
def test_few_pairs_that_differ_may_be_chance(better: int, worse: int, p: float) -> None:
    assert sign_test(better, worse) == p


@pytest.mark.parametrize(
    "wrong",
    [
        {"objects": 2},
        {"colour": "unclear"},
        {"colour": "grey"},
        {"shape": "unclear"},
        {"direction": "unclear"},
        {"background": "unclear"},
    ],
    ids=str,
)
def test_a_plausible_clip_is_like_those_of_the_training(wrong: dict[str, Any]) -> None:
    assert plausible(SEEN)
    assert not plausible(replace(SEEN, **wrong))


def test_a_report_reaches_its_aims_only_where_each_question_does() -> None:
    case = read("a red circle moving right on a dark background", 0)
    report = Report()
    for _ in range(99):
        report.add(answers(case, SEEN), 1.0)
    report.add(answers(case, replace(SEEN, colour="blue", shape="star")), 3.0)
    assert report.reached
    assert (str(report.whole)[:6], report.typical_seconds) == ("99/100", 1.0)
    report.add(answers(case, replace(SEEN, colour="blue")), 1.0)
    assert report.score("colour") == Score(99, 101)
    assert not report.reached
    assert [(row.what, row.aim) for row in report.rows("clips")] == [
        *((question, f"{AIMS[question]:.0%}") for question in ("colour", "direction", "shape", "background")),
        ("one object", "97%"),
        ("all of it", ""),
    ]


def test_no_clip_reaches_no_aim() -> None:
    assert not Report().reached
