"""The videos that tests ask for, and looking at what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference_service.null_pipeline import NullPipeline
from local.video_check import Expected, check_video
from mochi import Client, Job
from tests.chaos.objects import grey_of, played

__all__ = ["LONG", "LONG_PACE", "SMALL", "fetched", "fetched_whole"]

#: A second's work for the tiny model, and none for the one that does nothing.
SMALL: dict[str, Any] = {"width": 32, "height": 32, "num_frames": 7, "num_inference_steps": 2}
#: More than a minute for the model that does nothing, whatever else the machine does.
LONG: dict[str, Any] = {
    "prompt": "a patient circle",
    "width": 128,
    "height": 128,
    "num_frames": 61,
    "num_inference_steps": 2000,
    "seed": 7,
}
#: Steps a second of it, at most.
LONG_PACE = 1e6 / (128 * 128 * 61 * NullPipeline().profile.estimate.per_step)

_ROUNDING = 4  # of 255: what the encoder's colours lose


def fetched(client: Client, job: Job, folder: Path) -> bytes:
    """The job's video, fetched as a user does; every frame of it has been decoded."""
    path = folder / f"{job.id}.mp4"
    client.download(job.id, path)
    asked = job.request
    check_video(path, Expected(asked.width, asked.height, asked.num_frames, asked.fps))
    return path.read_bytes()


def fetched_whole(client: Client, job: Job, folder: Path) -> bytes:
    """The same of the model that does nothing, whose grey tells whether each step was done, and once."""
    video = fetched(client, job, folder)
    *_, grey = played(video)
    assert abs(grey - grey_of(job)) <= _ROUNDING
    return video
