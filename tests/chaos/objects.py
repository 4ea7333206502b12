"""The videos of completed jobs: each one is there, plays, and is what an uninterrupted run makes.

The model that does nothing paints a grey that is a digest over the seed and each of the steps: one step
left out, done twice or taken from another job, and it is another grey.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import av
import numpy as np
from av.container import InputContainer

from inference_service.null_pipeline import NO_MODEL, NullPipeline
from inference_service.pipeline import Latents
from jobs.job import Phase
from jobs.request import VideoSpec
from jobs.storage import S3VideoStorage
from mochi import Job
from tests.chaos.rig import Rig

__all__ = ["grey_of", "played", "wrong_objects"]

_SAMPLES = 40
_ROUNDING = 4  # of 255: what the encoder's colours lose


def wrong_objects(rig: Rig, jobs: Mapping[str, Job]) -> Iterator[str]:
    """Videos that are not there, are not what their jobs say, or not what was asked for."""
    storage = S3VideoStorage(rig.settings)
    completed = [job for job in jobs.values() if job.video is not None]
    for job in completed:
        found = storage.head(_key(job))
        if found is None:
            yield f"{job.id}: {_key(job)} is not there"
        elif job.video is not None and (found.etag, found.bytes) != (job.video.etag, job.video.bytes):
            yield f"{job.id}: {_key(job)} is {found.etag} {found.bytes}, not {job.video}"
    for job in _sample(completed):
        asked = (job.request.width, job.request.height, job.request.num_frames)
        *seen, grey = played(b"".join(storage.read(_key(job))))
        if tuple(seen) != asked:
            yield f"{job.id}: its video is {seen}, and {asked} was asked for"
        if rig.model == NO_MODEL and abs(grey - (wanted := grey_of(job))) > _ROUNDING:
            yield f"{job.id}: its video is of grey {grey}; without an interruption it is {wanted}"


def _key(job: Job) -> str:
    assert job.video is not None
    return job.video.s3_url.removeprefix("s3://").partition("/")[2]


def _sample(jobs: Sequence[Job]) -> Iterator[Job]:
    """Those whose work was cut off most often, first of all."""
    return islice(sorted(jobs, key=lambda job: -job.attempt), _SAMPLES)


def played(video: bytes) -> tuple[int, int, int, int]:
    """Width, height, number of frames and the mean grey of all, once decoded."""
    with av.open(io.BytesIO(video)) as container:
        assert isinstance(container, InputContainer)
        (stream,) = container.streams.video
        greys = [float(np.mean(frame.to_ndarray(format="rgb24"))) for frame in container.decode(stream)]
        return stream.width, stream.height, len(greys), round(sum(greys) / len(greys))


def grey_of(job: Job) -> int:
    """What a run of the model that does nothing paints, without an interruption and without its naps."""
    asked = job.request
    spec = VideoSpec(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        width=asked.width,
        height=asked.height,
        num_frames=asked.num_frames,
        fps=asked.fps,
        num_inference_steps=asked.num_inference_steps,
        guidance_scale=asked.guidance_scale,
        seed=asked.seed,
        queue=asked.queue,
    )
    pipeline = NullPipeline(nap=lambda _: None)
    latents = pipeline.denoise(spec, None, _Alone())
    return int(pipeline.decode(spec, latents, _Alone())[0, 0, 0, 0])


class _Alone:
    """Nobody hears of this work."""

    def entered(self, phase: Phase, step: int) -> None:
        """It goes on."""

    def stepped(self, _step: int, _latents: Callable[[], Latents]) -> bool:
        """It goes on."""
        return True
