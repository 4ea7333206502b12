"""The score of many clips: for each question, how many clips answer it as their prompt does."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.prompt_following.cases import QUESTIONS, Case
from bench.prompt_following.generator import Clip, Maker
from bench.prompt_following.judge import Seen, judge
from bench.prompt_following.scores import Score
from bench.table import Row

__all__ = ["AIMS", "Report", "answers", "look", "run"]

#: The share of right answers that each question wants.
AIMS = {"colour": 0.99, "direction": 0.98, "shape": 0.97, "background": 0.97, "one object": 0.97}

_EVERY = 10  # seconds between two lines of progress
_WHOLE = 60  # steps from a frame to the next in a clip of the training, in which a thing goes its whole way


@dataclass
class Report:
    """The answers so far."""

    right: dict[str, list[bool]] = field(default_factory=dict)
    all_right: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, answered: Mapping[str, bool], seconds: float) -> None:
        """One more clip."""
        for question, right in answered.items():
            self.right.setdefault(question, []).append(right)
        self.all_right.append(all(answered.values()))
        self.seconds.append(seconds)

    def score(self, question: str) -> Score:
        """Of the clips whose prompt answers this question."""
        given = self.right.get(question, [])
        return Score(sum(given), len(given))

    @property
    def whole(self) -> Score:
        """Clips with no wrong answer."""
        return Score(sum(self.all_right), len(self.all_right))

    @property
    def typical_seconds(self) -> float:
        """The median clip's."""
        return statistics.median(self.seconds)

    @property
    def reached(self) -> bool:
        """Whether each question has its aim."""
        return all(self.score(question).share >= aim for question, aim in AIMS.items())

    def rows(self, of_what: str) -> Iterator[Row]:
        """For the table, with the aims of the questions that have one."""
        for question in self.right:
            aim = f"{AIMS[question]:.0%}" if question in AIMS else ""
            yield Row(question, f"right, {of_what}", str(self.score(question)), aim)
        yield Row("all of it", f"right, {of_what}", str(self.whole))


def answers(case: Case, seen: Seen) -> dict[str, bool]:
    """Whether the clip is what the prompt says: what it leaves open is not asked.

    One object is always asked, and so is the background: any that is clear, where the prompt leaves it open.
    """
    wanted = {question: getattr(case, question) for question in QUESTIONS}
    asked = {
        question: getattr(seen, question) == name for question, name in wanted.items() if name is not None
    }
    asked.setdefault("background", seen.background != "unclear")
    return {**asked, "one object": seen.one_object}


def look(clip: Clip) -> Seen:
    """What the judge says: a clip with fewer frames than those of the training shows less of the way."""
    return judge(clip.frames, min(1.0, (len(clip.frames) - 1) / _WHOLE))


def run(
    maker: Maker,
    cases: Sequence[Case],
    wrong: Callable[[Case, Seen, Clip], None] | None = None,
    **options: Any,  # noqa: ANN401  # a request's own fields
) -> Report:
    """Make and judge a clip for each case; `wrong` gets those with a wrong answer.

    Standard error is told how far it is.
    """
    report, began = Report(), time.monotonic()
    told = began
    clips = maker.clips([(case.prompt, case.seed) for case in cases], **options)
    for done, (case, clip) in enumerate(zip(cases, clips, strict=True), 1):
        seen = look(clip)
        answered = answers(case, seen)
        report.add(answered, clip.seconds)
        if wrong is not None and not all(answered.values()):
            wrong(case, seen, clip)
        if time.monotonic() - told > _EVERY or done == len(cases):
            told = time.monotonic()
            left = (len(cases) - done) * (told - began) / done
            print(
                f"{done}/{len(cases)} clips, {report.whole}, {left:.0f} s left", file=sys.stderr, flush=True
            )
    return report
