"""A decoded clip on the scratch volume: kept for whoever goes on with the job, and encoded for its upload.

All of it blocks. Knows no GPU and no phase.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import structlog

from inference_service.checkpoints import Identity, Unusable, frames_from, frames_to
from inference_service.encoding import write_poster, write_video
from inference_service.job_files import FRAMES, is_full
from inference_service.pipeline import Frames
from inference_service.tools import Tools
from inference_service.uploading import Files
from jobs.store import Lease

__all__ = ["ClipFiles"]


class ClipFiles:
    """Of one lease."""

    def __init__(self, lease: Lease, identity: Identity, tools: Tools) -> None:
        self._job, self._identity, self._kept_files = lease.job, identity, tools.files
        self._folder = tools.scratch_dir / f"{lease.job.id}-{lease.token}"
        self._log = structlog.get_logger(__name__)

    def kept(self) -> Frames | None:
        """What an attempt before this one has decoded on this volume."""
        content = self._kept_files.read(self._job.id, FRAMES)
        if content is None:
            return None
        try:
            frames = frames_from(content, self._identity)
        except Unusable as unusable:
            self._log.warning("frames_ignored", reason=str(unusable))
            return None
        self._log.info("resumed", frames=len(frames))
        return frames

    def keep(self, frames: Frames) -> None:
        """Keep a copy, if the volume takes it."""
        content = frames_to(frames, self._job.spec.num_inference_steps, self._identity)
        self._kept_files.keep(self._job.id, FRAMES, content, otherwise="the decoded frames are not kept")

    def encode(self, frames: Frames, check: Callable[[], None]) -> Files:
        """The video and its poster. `check` is called before each frame; it may raise. Raises OSError."""
        files = Files(self._folder / "video.mp4", self._folder / "poster.jpg")
        try:
            self._write(frames, files, check)
        except OSError as error:
            if not is_full(error):
                raise
            self._kept_files.remove(self._job.id)  # what can be done again makes room
            self._write(frames, files, check)
        return files

    def remove(self) -> None:
        """Remove the video and its poster; what is kept stays."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, frames: Frames, files: Files, check: Callable[[], None]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_video(frames, files.video, self._job.spec.fps, check)
        write_poster(frames, files.poster)
