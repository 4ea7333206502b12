"""Steps and guidance against score and time: what a profile's defaults are chosen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.prompt_following.cases import Case
from bench.prompt_following.generator import Maker
from bench.prompt_following.scoring import AIMS, run
from bench.table import Row

__all__ = ["GUIDANCES", "STEPS", "sweep"]

STEPS = (8, 12, 16, 20, 24, 32)
GUIDANCES = (1.0, 1.5, 2.0, 3.5, 5.0)


def sweep(
    maker: Maker,
    cases: Sequence[Case],
    steps: Sequence[int],
    guidances: Sequence[float],
    **options: Any,  # noqa: ANN401  # a request's own fields
) -> Iterator[Row]:
    """The same cases with each number of steps and each guidance, and `options` as they are."""
    for count in steps:
        for scale in guidances:
            report = run(maker, cases, num_inference_steps=count, guidance_scale=scale, **options)
            parts = ", ".join(f"{question} {report.score(question).share:.1%}" for question in AIMS)
            yield Row(
                f"{count} steps, guidance {scale:g}",
                "right; seconds a clip",
                f"{report.whole}: {parts}; {report.typical_seconds:.2f} s",
            )
