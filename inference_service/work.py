"""The work on one job under its lease: denoise, decode, encode, upload; what came of it is an Outcome.

It goes on from what the last attempt left, and ends early when the slice's budget is used up or the
process is to end. Blocking parts run in the threads handed in; the outcome is recorded by `settling.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import structlog

from inference_service.checkpoints import Identity
from inference_service.clip_files import ClipFiles
from inference_service.job_files import is_full
from inference_service.lease_keeper import LeaseKeeping
from inference_service.metrics import RESUMED_STEPS, PhaseClock
from inference_service.pace import Pace
from inference_service.pipeline import (
    DeviceLost,
    Frames,
    GenerationError,
    Latents,
    PipelineFailed,
    Stop,
    StopReason,
)
from inference_service.saver import Saver
from inference_service.tools import Tools
from inference_service.uploading import Files, Upload
from jobs.errors import InvalidRequest, StorageUnavailable
from jobs.job import JobError, Outcome, Phase, ResultKind
from jobs.profile import Profile
from jobs.request import VideoSpec, parse_request
from jobs.store import Lease

__all__ = ["Limits", "Work"]

T = TypeVar("T")

#: Seconds for which a checkpoint is asked for while the object store is away, before the job starts over.
_LOAD_PATIENCE = 60.0

#: Seconds that the last checkpoint of a slice may take although the budget has none left.
_SAVE_PATIENCE = 10.0

#: The same where a phase without steps was cut off: the process has little time left.
_LAST_PATIENCE = 3.0


@dataclass(frozen=True)
class Limits:
    """When the work ends early."""

    until: float  # by the clock of the tools: the budget's end
    draining: Callable[[], bool]  # whether the process is to end


class Work:
    """One lease's work. To the pipeline it is the Progress."""

    def __init__(
        self, lease: Lease, keeper: LeaseKeeping, tools: Tools, pace: Pace, saver: Saver, limits: Limits
    ) -> None:
        self._lease, self._keeper, self._tools = lease, keeper, tools
        self._pace, self._saver, self._limits = pace, saver, limits
        self._spec = lease.job.spec
        self._steps = self._spec.num_inference_steps
        self._clip = ClipFiles(lease, Identity.of(lease.job, tools.pipeline.identity), tools)
        self._until = limits.until
        self._denoised_latents: Latents | None = None  # with all steps done
        self._step_at = self._offered_at = tools.clock()
        self.clock = PhaseClock(tools.clock)
        #: What broke the GPU; None: it works.
        self.device_lost: DeviceLost | None = None
        self._log = structlog.get_logger(__name__)

    async def run(self) -> Outcome | StopReason:
        """The outcome to record, or why there is none (LOST, SLICE, SHUTDOWN, DEVICE_LOST)."""
        try:
            _check_spec(self._spec, self._tools.pipeline.profile)
            frames = await asyncio.to_thread(self._clip.kept)
            if frames is not None:
                RESUMED_STEPS.inc(self._steps)
            else:
                latents = self._denoised_latents = await self._denoised()
                frames = await self._on_gpu(lambda: self._decode(latents))
            files = await self._on_gpu(lambda: self._encode(frames))
            self.clock.enter(Phase.UPLOADING)
            self._keeper.announce(Phase.UPLOADING, self._steps)
            upload = Upload(self._lease, self._tools, self._stop_if_told, self._outage)
            artifact = await upload.run(files)
        except Stop as stop:
            if stop.reason is StopReason.SHUTDOWN:
                await self.keep_last()
            return self._stopped(stop.reason)
        except DeviceLost as error:
            self.device_lost = error
            return StopReason.DEVICE_LOST
        except InvalidRequest as error:
            return self._failed(
                JobError("unsupported_request", f"The deployed model cannot do this: {error}")
            )
        except GenerationError as error:
            return self._failed(error.job_error())
        except StorageUnavailable as error:
            return self._failed(JobError("storage_unavailable", f"The video could not be stored: {error}"))
        except Exception as error:  # noqa: BLE001  # a defect or a full disk: the job must end all the same
            return self._failed(self._reason(error))
        finally:
            self.clock.enter(None)
            await asyncio.to_thread(self._clip.remove)
        return Outcome(ResultKind.COMPLETED, self._lease.token, artifact=artifact)

    # Progress, in the GPU's thread

    def entered(self, phase: Phase, step: int) -> None:
        """See Progress."""
        self.clock.enter(phase)
        self._keeper.report(phase, step)
        self._step_at = self._tools.clock()

    def stepped(self, step: int, latents: Callable[[], Latents]) -> bool:
        """See Progress: whether another step fits into the slice. Each slice does one, whatever it takes."""
        now = self._tools.clock()
        self._pace.stepped(self._spec, now - self._step_at)
        self.entered(Phase.DENOISING, step)
        if step == self._steps:
            return True
        fits = now + self._pace.step(self._spec) + min(self._pace.checkpoint, _SAVE_PATIENCE) <= self._until
        if self._limits.draining() or not fits:
            return False
        if now - self._offered_at >= self._tools.checkpoint_seconds:
            self._offered_at = now
            self._saver.offer(latents())
        return True

    # The parts

    async def _on_gpu(self, work: Callable[[], T]) -> T:
        # In a copy of our context: its log lines have the job's id as ours have.
        context = copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tools.gpu, lambda: context.run(work))

    async def _denoised(self) -> Latents:
        """Latents with all steps done. Raises Stop at the slice's end, with a checkpoint kept."""
        latents = await self._saver.load(_LOAD_PATIENCE, self._stop_if_told)
        self._offered_at = self._tools.clock()
        if latents is not None:
            RESUMED_STEPS.inc(latents.step)
            if latents.step == self._steps:
                return latents  # the slice begins with the decode: if it does not fit here, it never will
        pipeline = self._tools.pipeline
        while True:
            latents = await self._on_gpu(partial(pipeline.denoise, self._spec, latents, self))
            done = latents.step == self._steps
            if done and not self._limits.draining() and self._left() >= self._pace.tail(self._spec):
                return latents
            # A process that is to end is given little time.
            left = 0.0 if self._limits.draining() else self._left()
            await self._saver.save(latents, max(left, _SAVE_PATIENCE))
            if self._limits.draining():
                raise Stop(StopReason.SHUTDOWN)
            if self._saver.kept is not None:
                raise Stop(StopReason.SLICE)
            # To end the slice would throw its steps away, and count as an attempt without progress.
            self._log.warning("slice_extended", step=latents.step, reason="no checkpoint can be kept")
            if done:
                return latents
            self._until = self._tools.clock() + self._tools.checkpoint_seconds

    async def keep_last(self) -> None:
        """The process ends: what is done is to count. Takes a few seconds at most, and no GPU."""
        latents = self._denoised_latents
        if latents is not None and max(self._saver.kept or 0, self._lease.checkpoint_step) < self._steps:
            await self._saver.save(latents, _LAST_PATIENCE)
        else:  # the last checkpoint may be on its way
            with suppress(TimeoutError):
                await asyncio.wait_for(self._saver.idle(), _LAST_PATIENCE)

    def _left(self) -> float:
        return self._until - self._tools.clock()

    def _decode(self, latents: Latents) -> Frames:
        """In the GPU's thread: the clip, and a copy of it on the scratch volume."""
        began = self._tools.clock()
        frames = self._tools.pipeline.decode(self._spec, latents, self)
        self._pace.decoded(self._spec, self._tools.clock() - began)
        self._clip.keep(frames)
        return frames

    def _encode(self, frames: Frames) -> Files:
        """In the GPU's thread."""
        self.entered(Phase.ENCODING, self._steps)
        return self._clip.encode(frames, self._keeper.check)

    # Ends

    async def _outage(self) -> None:
        await self._saver.excuse(self._steps)

    def _stop_if_told(self) -> None:
        if (reason := self._keeper.reason) is not None:
            raise Stop(reason)

    def _stopped(self, reason: StopReason) -> Outcome | StopReason:
        match reason:
            case StopReason.CANCEL:
                return Outcome(ResultKind.CANCELLED, self._lease.token)
            case StopReason.DEADLINE:
                message = f"The video was not ready by its deadline, {self._spec.deadline}."
                return self._failed(JobError("deadline_exceeded", message))
            case StopReason.LOST | StopReason.SLICE | StopReason.SHUTDOWN | StopReason.DEVICE_LOST:
                return reason

    def _reason(self, error: Exception) -> JobError:
        if isinstance(error, OSError) and is_full(error):
            self._log.error("scratch_full", reason=error.strerror, consequence="the video is not encoded")
            message = "The scratch volume of the predictor is full, so the video could not be encoded."
            return JobError("scratch_full", message)
        self._log.error("work_failed", exc_info=error)
        return PipelineFailed(type(error).__name__).job_error()

    def _failed(self, error: JobError) -> Outcome:
        return Outcome(ResultKind.FAILED, self._lease.token, error=error)


def _check_spec(spec: VideoSpec, profile: Profile) -> None:
    """Raise InvalidRequest, naming the fields, for a job that the loaded model cannot do.

    It was checked when it was submitted, but perhaps against the profile of another model.
    """
    asked = asdict(spec)
    del asked["fps"]  # of the profile, not of the request
    parse_request(asked, profile, (spec.queue,))
