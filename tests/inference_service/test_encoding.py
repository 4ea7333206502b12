from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from inference_service.encoding import write_poster, write_video
from inference_service.pipeline import Frames

# Saturated colours are where the matrices differ most: read as BT.601, this green is off by 27 of 255.
COLOURS = [
    (220, 20, 30),
    (10, 190, 40),
    (30, 60, 210),
    (255, 255, 255),
    (0, 0, 0),
    (128, 128, 128),
    (9, 99, 9),
]


def clip(count: int = 7) -> Frames:
    return np.stack([np.full((32, 48, 3), COLOURS[i % len(COLOURS)], np.uint8) for i in range(count)])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    write_video(clip(), path, fps=30)
    return path


def test_is_h264_at_the_asked_size_and_rate(video: Path) -> None:
    with av.open(str(video)) as container:
        (stream,) = container.streams.video
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 30
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.width, stream.codec_context.height) == (48, 32)


def test_is_tagged_as_bt709_limited(video: Path) -> None:
    with av.open(str(video)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (ColorRange.MPEG, Colorspace.ITU709)
        assert (context.color_primaries, context.color_trc) == (1, 1)


def test_every_frame_comes_back_in_order_and_colour(video: Path) -> None:
    with av.open(str(video)) as container:
        decoded = [
            frame.reformat(
                format="rgb24",
                src_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    assert len(decoded) == 7
    for frame, original in zip(decoded, clip(), strict=True):
        assert np.abs(frame.astype(int) - original).max() <= 6


@pytest.mark.parametrize("count", [7, 13, 61])
def test_frame_count_and_duration(tmp_path: Path, count: int) -> None:
    write_video(clip(count), tmp_path / "v.mp4", fps=30)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.frames == count
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base * 30 == count


def test_the_index_comes_before_the_data(video: Path) -> None:
    content = video.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    odd = np.zeros((7, 33, 48, 3), np.uint8)  # 4:2:0 wants even sizes
    with pytest.raises(av.FFmpegError):
        write_video(odd, tmp_path / "video.mp4", fps=30)
    assert list(tmp_path.iterdir()) == []


def test_poster_is_the_middle_frame(tmp_path: Path) -> None:
    write_poster(clip(), tmp_path / "poster.jpg")
    with Image.open(tmp_path / "poster.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == (48, 32)
        assert np.abs(np.asarray(image).astype(int) - COLOURS[3]).max() <= 4
    assert [p.name for p in tmp_path.iterdir()] == ["poster.jpg"]
