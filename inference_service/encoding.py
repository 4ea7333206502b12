"""From frames to an MP4 and its poster image, on the scratch volume. Knows no job and no model.

The video is what every browser plays: H.264, 4:2:0, BT.709 with limited range and tagged as such
(untagged, players guess the matrix by the size and show wrong colours), its index at the front, so that
it starts before it is loaded (faststart).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from inference_service.pipeline import Frames

__all__ = ["write_poster", "write_video"]

#: x264's constant rate factor: 18 is visually lossless for most material (x264's own guide).
_CRF = "18"


def write_video(frames: Frames, path: Path, fps: int, check: Callable[[], None] = lambda: None) -> None:
    """Encode `frames`, all of them and in their order, at `fps` frames a second.

    Width and height are even. The file appears whole or not at all. `check` is called before each frame;
    what it raises ends the encoding. Raises OSError where the file cannot be written.
    """
    part = path.with_suffix(".part.mp4")
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": _CRF, "preset": "medium"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.time_base = Fraction(1, fps)
            context = stream.codec_context
            context.color_range = ColorRange.MPEG
            context.colorspace = Colorspace.ITU709
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
            for index, rgb in enumerate(frames):
                check()
                container.mux(stream.encode(_bt709(rgb, index)))
            container.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_poster(frames: Frames, path: Path) -> None:
    """Write the middle frame as a JPEG: the first one often shows nothing yet. Whole or not at all."""
    part = path.with_suffix(".part.jpg")
    try:
        Image.fromarray(frames[len(frames) // 2]).save(part, "JPEG", quality=90)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _bt709(rgb: Frames, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    frame.pts = index
    return frame
