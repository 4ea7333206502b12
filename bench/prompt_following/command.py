"""`python -m bench prompt_following`: how well a model follows its prompts.

Without options: 400 clips of combinations that the model was never trained on, with random seeds, through
the pipeline as the server runs it; then short prompts, seeds, guidance, a long prompt and odd ones. The exit
code is 1 where an aim is missed; fewer than five clips cannot show that guidance matters. `--sweep` scores
numbers of steps and guidances instead, on combinations of the training, so that what it is to choose is not
chosen on the clips that are reported. `--strip FILE` draws the README's picture.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from bench.prompt_following import behaviour
from bench.prompt_following.cases import Case, draw, draw_short
from bench.prompt_following.generator import Clip, Maker, check, load
from bench.prompt_following.judge import Seen
from bench.prompt_following.scoring import Report, run
from bench.prompt_following.strip import STRIP, write_strip
from bench.prompt_following.sweep import GUIDANCES, STEPS, sweep
from bench.prompt_following.workers import Workers
from bench.table import Row, show
from jobs.errors import InvalidRequest

__all__ = ["main"]

_FAST_ENOUGH = 3.0  # seconds for a clip of the default size, on two cores
_REPEATED = 3  # clips that are made twice


def main(arguments: Sequence[str], load: Callable[[Path | None, Path, int], Maker] = load) -> int:
    """The exit code: 0, or 1 where an aim is missed. `load` reads a folder's model, or the built-in one."""
    asked = _read(arguments)
    with ExitStack() as ending:
        scratch = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        maker: Maker
        if asked.processes > 1:
            loaded = partial(load, asked.model, scratch, asked.processes)
            maker = ending.enter_context(closing(Workers(loaded, asked.processes)))
        else:
            maker = load(asked.model, scratch, 1)
        if asked.strip is not None:
            write_strip([maker.make(prompt, seed).frames for prompt, seed in STRIP], asked.strip)
            print("\n".join(f"{prompt} (seed {seed})" for prompt, seed in STRIP))
            return 0
        if asked.sweep:
            cases = draw(asked.clips, asked.seed, held_out=False)
            show(sweep(maker, cases, asked.steps, asked.guidances, **_sized(asked)))
            return 0
        good: list[bool] = []
        show(_rows(maker, asked, good))
        return 0 if all(good) else 1


def _rows(maker: Maker, asked: argparse.Namespace, good: list[bool]) -> Iterator[Row]:
    which = "held out" if asked.held_out else "of the training"
    cases = draw(asked.clips, asked.seed, held_out=asked.held_out)
    report = run(maker, cases, _keeper(asked.keep), **_sized(asked))
    yield from report.rows(f"combinations {which}")
    good.append(report.reached)
    usual = asked.processes == 1 and not _sized(asked)  # a clip beside others, or another, has no such aim
    aim = f"< {_FAST_ENOUGH:g} s" if usual else ""
    yield Row("a clip", "seconds, p50", f"{report.typical_seconds:.2f} s", aim)
    good.append(not usual or report.typical_seconds < _FAST_ENOUGH)
    if asked.score_only:
        return
    brief = draw_short(-(-asked.clips // 4), asked.seed, held_out=asked.held_out)
    short = run(maker, brief, _keeper(asked.keep), **_sized(asked))
    yield from short.rows(f"short prompts, {which}")
    good.append(short.reached)
    for finding in _findings(maker, cases, report, _sized(asked)):
        good.append(finding.good)
        yield finding.row


def _findings(
    maker: Maker, cases: Sequence[Case], report: Report, sized: dict[str, int]
) -> Iterator[behaviour.Finding]:
    yield from behaviour.seeds_matter(maker, cases[:_REPEATED])
    yield behaviour.guidance_matters(maker, cases, report.all_right, **sized)
    yield behaviour.long_prompt(maker)
    yield from behaviour.odd_prompts(maker)


def _sized(asked: argparse.Namespace) -> dict[str, int]:
    """What is asked of every clip that is scored."""
    wanted = {"width": asked.size, "height": asked.size, "num_frames": asked.frames}
    return {name: value for name, value in wanted.items() if value is not None}


def _keeper(folder: Path | None) -> Callable[[Case, Seen, Clip], None]:
    """Tells of each wrong clip on standard error, and draws it in `folder`."""

    def keep(case: Case, seen: Seen, clip: Clip) -> None:
        print(f"wrong: {case}\n       {seen}", file=sys.stderr)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", f"{case.prompt[:60]}-{case.seed}")
            write_strip([clip.frames], folder / f"{name}.png")

    return keep


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        check(**_sized(asked))
        for steps in asked.steps:
            check(num_inference_steps=steps)
        for guidance in asked.guidances:
            check(guidance_scale=guidance)
    except InvalidRequest as error:
        parser.error(str(error))
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench prompt_following",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a diffusers folder; else the built-in model"
    )
    parser.add_argument("--clips", type=_positive, default=400, help="how many (400)")
    parser.add_argument("--processes", type=_positive, default=1, help="that make clips at once (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing of prompts and seeds (0)")
    parser.add_argument(
        "--training", dest="held_out", action="store_false", help="score combinations that it was trained on"
    )
    parser.add_argument("--size", type=int, help="width and height of the clips that are scored")
    parser.add_argument("--frames", type=int, help="of the clips that are scored: 6k+1 (the profile's)")
    parser.add_argument("--score-only", action="store_true", help="no short prompts, and nothing after them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="draw the wrong clips here")
    parser.add_argument("--sweep", action="store_true", help="score each number of steps with each guidance")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of the sweep")
    parser.add_argument("--guidances", type=float, nargs="+", default=GUIDANCES, help="of the sweep")
    parser.add_argument("--strip", type=Path, metavar="FILE", help="draw some frames of three prompts (PNG)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value
