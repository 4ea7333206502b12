"""What the end-to-end tests rely on: an MP4 that is read wrongly is seen by the judge, or in its levels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from bench.prompt_following.judge import Seen, judge
from bench.prompt_following.masks import Video
from tests.bench.clips import decoded, encoded, expected, of_seen
from training.clips import BACKGROUNDS, COLOURS, Clip, Combination, render

CLIPS = [
    Clip(Combination("circle", "red", "right"), "dark", "large", (31.3, 33.1), 11.4, 25.0),
    Clip(Combination("square", "green", "up"), "light", "large", (31.3, 33.1), 11.4, 25.0),
    Clip(Combination("star", "pink", "left"), "dark", "large", (31.3, 33.1), 11.4, 25.0),
]


def levels_off(seen: Seen, clip: Clip) -> int:
    """How far the colours are from those that were drawn, of 255."""
    ink, ground = COLOURS[clip.combination.colour], BACKGROUNDS[clip.background]
    pairs = [*zip(seen.rgb, ink, strict=True), *zip(seen.ground, ground, strict=True)]
    return max(abs(a - b) for a, b in pairs)


def read_as(path: Path, matrix: Colorspace, levels: ColorRange) -> Video:
    """The file by a player that does not look at its tags."""
    with av.open(str(path)) as file:
        frames = [
            frame.reformat(
                format="rgb24",
                src_colorspace=matrix,
                src_color_range=levels,
                dst_color_range=ColorRange.JPEG,
            )
            for frame in file.decode(video=0)
        ]
    return np.stack([frame.to_ndarray() for frame in frames])


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.combination.colour)
def test_a_file_that_is_read_wrongly_is_seen(clip: Clip, tmp_path: Path) -> None:
    path = encoded(render(clip), tmp_path / "v.mp4")
    seen = judge(decoded(path))
    assert of_seen(seen) == expected(clip)
    assert levels_off(seen, clip) <= 6
    assert levels_off(judge(read_as(path, Colorspace.ITU709, ColorRange.MPEG)), clip) <= 6
    assert levels_off(judge(read_as(path, Colorspace.ITU601, ColorRange.MPEG)), clip) > 16
    full = judge(read_as(path, Colorspace.ITU709, ColorRange.JPEG))
    assert full.background == "unclear"
    assert levels_off(full, clip) > 12
    assert judge(decoded(path)[::-1]).direction != clip.combination.direction
