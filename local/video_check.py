"""Whether a file is the video that was asked for: every frame of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Expected", "WrongVideo", "check_video"]


class WrongVideo(Exception):
    """The file is not what was asked for; the message says how it differs."""


@dataclass(frozen=True)
class Expected:
    """What was asked for. Sizes in pixels, `fps` in frames a second."""

    width: int
    height: int
    frames: int
    fps: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames at {self.fps} fps"


def check_video(path: Path, expected: Expected) -> None:
    """Raise WrongVideo unless the file is playable H.264 (yuv420p) of the expected size, length and rate."""
    import av  # 0.1 s, and only the demo needs it

    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0] if file.streams.video else None
            if stream is None:
                raise WrongVideo("it has no video stream")
            codec, pixels = stream.codec_context.name, stream.codec_context.pix_fmt
            rate = stream.average_rate
            sizes = [(frame.width, frame.height) for frame in file.decode(stream)]
    except av.FFmpegError as error:
        raise WrongVideo(f"it cannot be decoded: {error.strerror}") from None
    if (codec, pixels) != ("h264", "yuv420p"):
        raise WrongVideo(f"it is {codec} ({pixels}), and not h264 (yuv420p)")
    width, height = sizes[0] if sizes else (0, 0)
    fps = round(float(rate or 0), 3)
    wrong_size = any(size != (expected.width, expected.height) for size in sizes)
    if wrong_size or len(sizes) != expected.frames or fps != expected.fps:
        raise WrongVideo(f"it is {width}x{height}, {len(sizes)} frames at {fps:g} fps, and not {expected}")
