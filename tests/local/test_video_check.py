from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference_service.encoding import write_video
from local.video_check import Expected, WrongVideo, check_video

RIGHT = Expected(width=64, height=48, frames=7, fps=30)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), np.uint8)
    write_video(frames, path, 30)
    return path


def test_the_right_one(video: Path) -> None:
    check_video(video, RIGHT)


@pytest.mark.parametrize(
    "other",
    [
        Expected(width=48, height=64, frames=7, fps=30),
        Expected(width=64, height=48, frames=13, fps=30),
        Expected(width=64, height=48, frames=7, fps=24),
    ],
    ids=str,
)
def test_another_one(video: Path, other: Expected) -> None:
    with pytest.raises(WrongVideo, match=f"it is {RIGHT}, and not {other}"):
        check_video(video, other)


def test_no_video(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"no video")
    with pytest.raises(WrongVideo, match="it cannot be decoded: Invalid data"):
        check_video(tmp_path / "video.mp4", RIGHT)


def test_one_that_was_cut_off(video: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-3000])
    with pytest.raises(WrongVideo):
        check_video(tmp_path / "cut.mp4", RIGHT)
