"""What the videos show: the prompt reaches the model, and its frames the file, in order and in colour."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from bench.prompt_following.judge import judge
from bench.prompt_following.masks import Video
from mochi import Client
from training.clips import BACKGROUNDS, COLOURS

#: Levels (of 255) that a colour may be off: the model's own error and that of 4:2:0. A wrong matrix is off by
#: 21 in red and green. A wrong range is off by 12 in any background, which the judge then calls unclear.
_OFF = 16


def frames(file: Path) -> Video:
    """(frames, height, width, 3), RGB, as a player shows them."""
    with av.open(str(file), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    ("shape", "colour", "direction", "background"),
    [
        ("circle", "red", "right", "dark"),
        ("square", "green", "left", "light"),
        ("triangle", "blue", "up", "light"),
    ],
)
def test_the_video_shows_what_was_asked_for(
    client: Client, tmp_path: Path, shape: str, colour: str, direction: str, background: str
) -> None:
    prompt = f"a large {colour} {shape} moving {direction} on a {background} background"
    job = client.submit(prompt, seed=1)
    client.wait(job.id, timeout=60)
    client.download(job.id, tmp_path / "video.mp4")
    video = frames(tmp_path / "video.mp4")
    assert video.shape == (61, 64, 64, 3)
    seen = judge(video)
    expected = (shape, colour, direction, background, 1)
    assert (seen.shape, seen.colour, seen.direction, seen.background, seen.objects) == expected
    for levels, right in ((seen.rgb, COLOURS[colour]), (seen.ground, BACKGROUNDS[background])):
        assert np.abs(np.subtract(levels, right)).max() <= _OFF, (levels, right)
