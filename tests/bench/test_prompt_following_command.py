"""The command, over a pipeline that draws what its prompt says, or does not. No torch and no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.prompt_following.cases import draw, read
from bench.prompt_following.command import main
from bench.prompt_following.generator import Generator
from bench.prompt_following.masks import Video
from bench.prompt_following.sweep import GUIDANCES, STEPS
from inference_service.pipeline import Frames, Latents, Progress
from jobs.profile import Profile, shipped_profile
from jobs.request import VideoSpec
from jobs.settings import DEFAULT_MODEL
from training.clips import TRAINED, Combination, draw_clip, render

Change = Callable[[Video, VideoSpec], Video]

FIRST = draw(8, 0, held_out=True)[0]


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
    return video[..., [2, 0, 1]] if spec.guidance_scale == 1 else video  # each colour is another then


def only_the_first(video: Video, spec: VideoSpec) -> Video:
    return follow_less_without_guidance(video, spec) if spec.seed == FIRST.seed else video


def no_long_prompt(video: Video, spec: VideoSpec) -> Video:
    return follow_less_without_guidance(video[::-1] if len(spec.prompt) == 2000 else video, spec)


def no_empty_prompt(video: Video, spec: VideoSpec) -> Video:
    return follow_less_without_guidance(video if spec.prompt else np.zeros_like(video), spec)


def no_background_for_a_short_prompt(video: Video, spec: VideoSpec) -> Video:
    case = read(spec.prompt, spec.seed)
    if case.colour and not case.background and len(spec.prompt) < 100:
        video = (video * 0.86 + 16).astype(np.uint8)
    return follow_less_without_guidance(video, spec)


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
    assert "| 2,000 characters | right, all of it | 10/10 = " in table
    assert "| odd prompts | plausible | 60/60 = " in table


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


#: How the rows of eight clips begin where all is well.
WELL = {
    "the same seed": "| the same seed | the same bytes | 3/3 ",
    "guidance": "| guidance 1 | right, all of it | 0/8 ",
    "odd prompts": "| odd prompts | plausible | 60/60 ",
    "a long prompt": "| 2,000 characters | right, all of it | 10/10 ",
    "short prompts": "| background | right, short prompts, held out | 2/2 ",
}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        pytest.param(lambda video, _: video, "guidance", id="guidance matters not at all"),
        pytest.param(only_the_first, "guidance", id="guidance matters by chance"),
        pytest.param(
            lambda video, spec: follow_less_without_guidance(Drifting.next(video), spec),
            "the same seed",
            id="not the same",
        ),
        pytest.param(no_empty_prompt, "odd prompts", id="no empty prompt"),
        pytest.param(no_long_prompt, "a long prompt", id="no long prompt"),
        pytest.param(
            no_background_for_a_short_prompt, "short prompts", id="no background for a short prompt"
        ),
    ],
)
def test_what_else_is_wrong_fails_and_nothing_else_does(
    change: Change, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, table = command("--clips 8", change, capsys)
    assert code == 1
    assert [what for what, row in WELL.items() if row not in table] == [wrong], table


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
    command(f"--clips 8 --score-only --keep {tmp_path}", lambda video, _: video[::-1], capsys)
    moving = [case for case in draw(8, 0, held_out=True) if case.direction != "still"]
    assert 0 < len(moving) < 8
    kept = list(tmp_path.glob("*.png"))
    assert {int(file.stem.rpartition("-")[2]) for file in kept} == {case.seed for case in moving}


def painter(*_: object) -> Generator:
    return Generator(Painter(follow_less_without_guidance))


def test_several_processes_say_the_same_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(arguments: str) -> list[str]:
        main(arguments.split(), load=painter)
        table = capsys.readouterr().out
        return [line for line in table.splitlines() if "seconds" not in line]

    assert rows("--clips 4 --processes 2") == rows("--clips 4")


def test_a_request_is_filled_from_the_profile() -> None:
    asked: list[VideoSpec] = []

    def recorded(video: Video, spec: VideoSpec) -> Video:
        asked.append(spec)
        return video

    painter = Painter(recorded)
    Generator(painter).make("a red circle moving right", 7)
    (spec,) = asked
    assert (spec.seed, spec.num_inference_steps, spec.guidance_scale, spec.width, spec.num_frames) == (
        7,
        painter.profile.num_inference_steps.default,
        painter.profile.guidance_scale.default,
        painter.profile.width.default,
        painter.profile.num_frames.default,
    )


def test_a_sweep_may_choose_the_profiles_defaults() -> None:
    profile = Painter().profile
    assert profile.num_inference_steps.default in STEPS
    assert profile.guidance_scale.default in GUIDANCES


def test_a_sweep_scores_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    made: set[tuple[int, float, int]] = set()

    def recorded(video: Video, spec: VideoSpec) -> Video:
        made.add((spec.num_inference_steps, spec.guidance_scale, spec.width))
        return video

    code, table = command("--clips 2 --size 48 --sweep --steps 8 16 --guidances 1 3.5", recorded, capsys)
    assert code == 0
    assert made == {(8, 1, 48), (8, 3.5, 48), (16, 1, 48), (16, 3.5, 48)}
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == [
        "8 steps, guidance 1",
        "8 steps, guidance 3.5",
        "16 steps, guidance 1",
        "16 steps, guidance 3.5",
    ]


def test_clips_of_another_size_are_scored_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    sides: list[int] = []

    def narrower(video: Video, spec: VideoSpec) -> Video:
        sides.append(video.shape[1])
        return follow_less_without_guidance(video, spec)

    code, _ = command("--clips 8 --size 48", narrower, capsys)
    assert code == 0
    with_guidance, short, without = 8, 2, 8
    assert sides.count(48) == with_guidance + short + without


@pytest.mark.parametrize("frames", [13, 31])
def test_shorter_clips_are_scored_by_the_way_that_they_show(
    frames: int, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: set[int] = set()

    def counted(video: Video, _spec: VideoSpec) -> Video:
        counts.add(len(video))
        return video

    code, table = command(f"--clips 8 --score-only --frames {frames}", counted, capsys)
    assert (code, counts) == (0, {frames}), table
    code, _ = command(f"--clips 8 --score-only --frames {frames}", lambda video, _: video[::-1], capsys)
    assert code == 1


def test_a_sweep_chooses_on_what_the_model_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked: set[Combination] = set()

    def recorded(video: Video, spec: VideoSpec) -> Video:
        case = read(spec.prompt, spec.seed)
        asked.add(Combination(str(case.shape), str(case.colour), str(case.direction)))
        return video

    command("--clips 3 --sweep --steps 8 --guidances 1", recorded, capsys)
    assert len(asked) == 3
    assert asked <= set(TRAINED)


def test_the_strip_shows_six_frames_of_three_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "strip.png"
    code, said = command(f"--strip {file}", lambda video, _: video, capsys)
    assert code == 0
    assert len(said.splitlines()) == 3
    with Image.open(file) as image:
        assert image.size == (6 * 132 - 4, 3 * 132 - 4)


def no_model(*_: object) -> Generator:
    raise AssertionError("a model is loaded for nothing")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("--clips 0", "0 is less than 1"),
        ("--frames 60", "num_frames: 60 is not allowed"),
        ("--size 40", "width: 40 is not allowed"),
        ("--sweep --steps 24 1", "num_inference_steps: 1 is not allowed"),
        ("--sweep --guidances 0.5", "guidance_scale: 0.5 is not allowed"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    arguments: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments.split(), load=no_model)
    assert why in capsys.readouterr().err
