"""The command, over a pipeline that draws what its prompt says, or does not. No torch and no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.prompt_following.cases import read
from bench.prompt_following.command import main
from bench.prompt_following.generator import Generator
from bench.prompt_following.masks import Video
from inference_service.pipeline import Frames, Latents, Progress
from jobs.profile import Profile, shipped_profile
from jobs.request import VideoSpec
from jobs.settings import DEFAULT_MODEL
from training.clips import TRAINED, Combination, draw_clip, render

Change = Callable[[Video, VideoSpec], Video]


class Painter:
    """A VideoPipeline that draws the clip of each prompt by hand, then changes it."""

    identity = {"weights": "none"}  # noqa: RUF012  # the protocol's

    def __init__(self, change: Change = lambda video, _spec: video) -> None:
        self._change = change

    @property
    def profile(self) -> Profile:
        profile = shipped_profile(DEFAULT_MODEL)
        assert profile is not None
        frames = profile.num_frames.model_copy(update={"default": 25})  # enough to see where a shape goes
        return profile.model_copy(update={"num_frames": frames})

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:  # noqa: ARG002  # the protocol's
        assert progress.stepped(spec.num_inference_steps, lambda: Latents(0, "U8", (), b""))
        return Latents(spec.num_inference_steps, "U8", (), b"")

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:  # noqa: ARG002  # the protocol's
        rng = np.random.default_rng(spec.seed)
        case = read(spec.prompt, spec.seed)
        while True:  # the first random clip that is as the prompt says
            guess = TRAINED[rng.integers(len(TRAINED))]
            combination = Combination(
                case.shape or guess.shape, case.colour or guess.colour, case.direction or guess.direction
            )
            clip = draw_clip(rng, [combination])
            if case.background in (None, clip.background) and case.size in (None, clip.size):
                return self._change(render(clip, spec.num_frames, spec.height, spec.width), spec)


def follow_less_without_guidance(video: Video, spec: VideoSpec) -> Video:
    return video[::-1] if spec.guidance_scale == 1 else video


def command(arguments: str, change: Change, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and the table."""
    code = main(arguments.split(), load=lambda *_: Generator(Painter(change)))
    return code, capsys.readouterr().out


def test_a_model_that_follows_its_prompts_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, table = command("--clips 12", follow_less_without_guidance, capsys)
    assert code == 0, table
    assert "| colour | right, combinations held out | 12/12 = 100.0% (75.8% to 100.0%) | 99% |" in table
    assert "| shape | right, short prompts, held out | 3/3 = " in table
    assert "| the same seed | the same bytes | 3/3 | all |" in table
    assert "| odd prompts | plausible | 28/28 = " in table


@pytest.mark.parametrize(
    ("change", "question"),
    [
        (lambda video, _: video[::-1], "direction"),
        (lambda video, _: video[..., [2, 0, 1]], "colour"),
        (lambda video, _: np.maximum(video, np.roll(video, 28, 1)), "one object"),
        (lambda video, _: (video * 0.86 + 16).astype(np.uint8), "background"),
    ],
    ids=["reversed", "channels", "twice", "range"],
)
def test_a_model_that_does_not_fails_and_the_table_says_where(
    change: Change, question: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, table = command("--clips 8 --score-only --training", change, capsys)
    assert code == 1
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {question} ")]
    assert "8/8" not in row
    assert "combinations of the training" in row


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda video, _: video, id="guidance counts for nothing"),
        pytest.param(
            lambda video, spec: follow_less_without_guidance(Drifting.next(video), spec), id="not the same"
        ),
        pytest.param(
            lambda video, spec: video if spec.prompt else np.zeros_like(video), id="no empty prompt"
        ),
    ],
)
def test_what_else_is_wrong_fails(change: Change, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = command("--clips 4", change, capsys)
    assert code == 1


class Drifting:
    """Clips that are a little different each time."""

    count = 0

    @classmethod
    def next(cls, video: Video) -> Video:
        cls.count += 1
        changed = video.copy()
        changed[0, 0, 0, 0] += cls.count % 5
        return changed


def test_the_wrong_clips_are_kept_for_people_to_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(f"--clips 3 --score-only --keep {tmp_path}", lambda video, _: video[::-1], capsys)
    kept = list(tmp_path.iterdir())
    assert kept
    assert {file.suffix for file in kept} == {".png"}


def painter(*_: object) -> Generator:
    return Generator(Painter(follow_less_without_guidance))


def test_several_processes_say_the_same_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(arguments: str) -> list[str]:
        main(arguments.split(), load=painter)
        table = capsys.readouterr().out
        return [line for line in table.splitlines() if "seconds" not in line]

    assert rows("--clips 4 --processes 2") == rows("--clips 4")


def test_a_sweep_scores_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    code, table = command(
        "--clips 2 --size 96 --sweep --steps 8 16 --guidances 1 3.5", follow_less_without_guidance, capsys
    )
    assert code == 0
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == [
        "8 steps, guidance 1",
        "8 steps, guidance 3.5",
        "16 steps, guidance 1",
        "16 steps, guidance 3.5",
    ]


def test_clips_of_another_size_are_scored_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    sides: list[int] = []

    def wider(video: Video, spec: VideoSpec) -> Video:
        sides.append(video.shape[1])
        return follow_less_without_guidance(video, spec)

    code, _ = command("--clips 4 --size 96", wider, capsys)
    assert code == 0
    with_guidance, short, without = 4, 1, 4
    assert sides.count(96) == with_guidance + short + without


def test_the_strip_shows_six_frames_of_three_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "strip.png"
    code, said = command(f"--strip {file}", lambda video, _: video, capsys)
    assert code == 0
    assert len(said.splitlines()) == 3
    with Image.open(file) as image:
        assert image.size == (6 * 132 - 4, 3 * 132 - 4)


def test_numbers_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--clips", "0"])
    assert "0 is less than 1" in capsys.readouterr().err
