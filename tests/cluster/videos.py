"""The videos that tests ask for, and looking at what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from local.video_check import Expected, check_video
from mochi import Client, Job

__all__ = ["LONG", "SMALL", "fetched"]

#: A second's work for the tiny model.
SMALL: dict[str, Any] = {"width": 32, "height": 32, "num_frames": 7, "num_inference_steps": 2}
#: About a minute's work for two cores. All long jobs are this one, so all make the same video.
LONG: dict[str, Any] = {
    "prompt": "a patient circle",
    "width": 128,
    "height": 128,
    "num_frames": 61,
    "num_inference_steps": 200,
    "seed": 7,
}


def fetched(client: Client, job: Job, folder: Path) -> bytes:
    """The job's video, fetched as a user does; every frame of it has been decoded."""
    path = folder / f"{job.id}.mp4"
    client.download(job.id, path)
    asked = job.request
    check_video(path, Expected(asked.width, asked.height, asked.num_frames, asked.fps))
    return path.read_bytes()
