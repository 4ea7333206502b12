"""What the predictor needs of a model, and how a model fails. Knows no model and no library.

GenerationError
├── OutOfMemory     out_of_memory   the job did not fit into the memory of the GPU (or the machine)
├── InvalidFrames   invalid_frames  the model computed numbers that are no picture (NaN, infinity)
└── PipelineFailed  pipeline_error  anything else that the model raised

An error knows its code and a sentence for the person who asked for the video. DeviceLost is no failure of
a job's: the GPU of this process takes no more work, and another process goes on with the job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from jobs.errors import MochiError
from jobs.job import JobError, Phase
from jobs.profile import Profile
from jobs.request import VideoSpec

__all__ = [
    "DeviceLost",
    "Frames",
    "GenerationError",
    "InvalidFrames",
    "Latents",
    "OutOfMemory",
    "PipelineFailed",
    "Progress",
    "Stop",
    "StopReason",
    "VideoPipeline",
]

#: A clip: (frames, height, width, 3), RGB, 0 to 255, full range.
Frames: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Latents:
    """A clip that is denoised so far: all that is needed to go on at the next step, on any machine."""

    step: int  # denoising steps done
    dtype: str  # as safetensors names it: F32, BF16, U8
    shape: tuple[int, ...]
    data: bytes  # in the machine's order, which is little-endian wherever the models run


class Progress(Protocol):
    """Who hears of the work. Both methods may raise Stop, which the pipeline lets through at once."""

    def entered(self, phase: Phase, step: int) -> None:
        """A phase begins, with so many denoising steps done."""

    def stepped(self, step: int, latents: Callable[[], Latents]) -> bool:
        """A denoising step is done; whether to go on with the next.

        `latents` gives the latents of now. They are copied from the GPU when it is called, and only then.
        """


class StopReason(StrEnum):
    """Why the work on a job is to end before its video is made."""

    CANCEL = "cancel"  # its client asked for it
    DEADLINE = "deadline"  # the video is not wanted any more
    LOST = "lost"  # the lease is another's: nothing may be recorded
    SLICE = "slice"  # the budget of the delivery is used up: the next one goes on
    SHUTDOWN = "shutdown"  # this process ends: another one goes on
    DEVICE_LOST = "device_lost"  # the GPU failed, and this process with it: another one goes on


class Stop(Exception):
    """Raised out of a report: stop now. Not a failure."""

    def __init__(self, reason: StopReason) -> None:
        self.reason = reason
        super().__init__(reason)


class GenerationError(Exception):
    """Base of the tree. The message is for users: no stack trace, no path, no secret."""

    code: ClassVar[str] = "pipeline_error"

    def job_error(self) -> JobError:
        """As the job's record keeps it."""
        return JobError(self.code, str(self))


class OutOfMemory(GenerationError):
    """The job did not fit into memory."""

    code = "out_of_memory"

    def __init__(self, spec: VideoSpec) -> None:
        size = f"{spec.width}x{spec.height} with {spec.num_frames} frames"
        super().__init__(f"The model ran out of memory at {size}. Ask for a smaller size or fewer frames.")


class InvalidFrames(GenerationError):
    """Numbers came out of the model that are no picture. `where`: what was being computed."""

    code = "invalid_frames"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The model computed invalid numbers while {where}, so there is no picture to show. "
            "Try another seed or a lower guidance_scale."
        )


class PipelineFailed(GenerationError):
    """Anything else that went wrong while the video was made. `kind` names it in a word."""

    code = "pipeline_error"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"Making the video failed with an internal error ({kind}); the predictor's log has it."
        )


class DeviceLost(MochiError):
    """The GPU, or this process' hold on it, is broken: each further call fails, and only a new process helps.

    Not of the tree above: nothing is recorded as the job's failure. The message is one line of the driver's.
    """

    status = 503
    slug = "device-lost"
    title = "The predictor lost its GPU"
    retry_after = 10


class VideoPipeline(Protocol):
    """A loaded model. It is called from one thread, for one job at a time."""

    @property
    def profile(self) -> Profile:
        """What the model can do."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What its latents depend on beside the request: weights, number type, versions of libraries."""

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        """Encode the prompt, then denoise from noise or from `start`, which lacks at least one step.

        Enters ENCODING_PROMPT and DENOISING. Ends early where `progress` says so after a step. Whatever
        the interruptions, the latents after a step are the same, bit for bit, on the same kind of machine.
        After any exception the memory that the job took is free again, but for DeviceLost, after which no
        method may be called again. Raises GenerationError, DeviceLost.
        """

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
        """Make the clip from latents with all steps done; enters DECODING.

        It has exactly `spec.num_frames` frames of `spec.height` x `spec.width` pixels. Exceptions as above.
        """
