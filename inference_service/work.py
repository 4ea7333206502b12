"""The work on one job under its lease: make the clip, encode it, upload it; what came of it is an Outcome.

Blocking parts run in the threads handed in; the outcome is recorded by `predict.py`.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from inference_service.encoding import write_poster, write_video
from inference_service.lease_keeper import LeaseKeeper
from inference_service.metrics import PhaseClock
from inference_service.pipeline import GenerationError, PipelineFailed, Stop, StopReason, VideoPipeline
from jobs.errors import InvalidRequest, StorageUnavailable
from jobs.job import Artifact, JobError, Outcome, Phase, ResultKind
from jobs.profile import Profile
from jobs.request import VideoSpec, parse_request
from jobs.storage import StoredObject, VideoStorage
from jobs.store import Lease

__all__ = ["UPLOAD_PATIENCE", "Work", "growing_pauses"]

#: Seconds for which an upload is tried again while the object store is away: a restart takes seconds, a
#: failover minutes. After that the job fails, for its video would keep the GPU from the others.
UPLOAD_PATIENCE = 600.0


async def growing_pauses(longest: float = 5.0) -> AsyncIterator[None]:
    """Sleep before every turn but the first: 0.25 s, 0.5 s, 1 s and so on up to `longest`."""
    pause = 0.25
    while True:
        yield
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)


@dataclass(frozen=True)
class _Files:
    video: Path
    poster: Path


class Work:
    """One lease's work. `gpu` runs one thing at a time."""

    def __init__(
        self,
        lease: Lease,
        keeper: LeaseKeeper,
        pipeline: VideoPipeline,
        storage: VideoStorage,
        gpu: Executor,
        scratch_dir: Path,
    ) -> None:
        """`scratch_dir`: of this process alone."""
        self._lease = lease
        self._spec = lease.job.spec
        self._keeper = keeper
        self._pipeline = pipeline
        self._storage = storage
        self._gpu = gpu
        self._folder = scratch_dir / f"{lease.job.id}-{lease.token}"
        self.clock = PhaseClock()
        self._log = structlog.get_logger(__name__)

    async def run(self) -> Outcome | StopReason:
        """The outcome to record, or why there is none (LOST, SHUTDOWN). Leaves no file behind."""
        loop = asyncio.get_running_loop()
        try:
            check_spec(self._spec, self._pipeline.profile)
            # In a copy of our context: its log lines have the job's id as ours have.
            files = await loop.run_in_executor(self._gpu, copy_context().run, self._make)
            artifact = await self._upload(files)
        except Stop as stop:
            return self._stopped(stop.reason)
        except InvalidRequest as error:
            return self._failed(
                JobError("unsupported_request", f"The deployed model cannot do this: {error}")
            )
        except GenerationError as error:
            return self._failed(error.job_error())
        except StorageUnavailable as error:
            return self._failed(JobError("storage_unavailable", f"The video could not be stored: {error}"))
        except Exception as error:  # noqa: BLE001  # a defect or a full disk: the job must end all the same
            self._log.exception("work_failed")
            return self._failed(PipelineFailed(type(error).__name__).job_error())
        finally:
            self.clock.enter(None)
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        return Outcome(ResultKind.COMPLETED, self._lease.token, artifact=artifact)

    def _report(self, phase: Phase, step: int) -> None:
        self.clock.enter(phase)
        self._keeper.report(phase, step)

    def _make(self) -> _Files:
        """In the GPU's thread: frames, then files."""
        frames = self._pipeline.generate(self._spec, self._report)
        self._report(Phase.ENCODING, self._spec.num_inference_steps)
        self._folder.mkdir(parents=True, exist_ok=True)
        files = _Files(self._folder / "video.mp4", self._folder / "poster.jpg")
        write_video(frames, files.video, self._spec.fps)
        write_poster(frames, files.poster)
        return files

    async def _upload(self, files: _Files) -> Artifact:
        self.clock.enter(Phase.UPLOADING)
        self._keeper.announce(Phase.UPLOADING, self._spec.num_inference_steps)
        lease = self._lease
        folder = f"videos/{lease.job.id}/{lease.attempt}-{lease.token}"
        video, poster = await asyncio.gather(
            self._put(f"{folder}/video.mp4", files.video, "video/mp4"),
            self._put(f"{folder}/poster.jpg", files.poster, "image/jpeg"),
        )
        return Artifact(video.key, video.s3_url, video.etag, video.bytes, poster.key)

    async def _put(self, key: str, path: Path, content_type: str) -> StoredObject:
        give_up_at = time.monotonic() + UPLOAD_PATIENCE
        async for _ in growing_pauses():
            if (reason := self._keeper.reason) is not None:
                raise Stop(reason)
            try:
                return await asyncio.to_thread(self._storage.put, key, path, content_type)
            except StorageUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise
                self._log.warning("upload_retried", key=key, reason=str(error))
        raise AssertionError("the pauses never end")

    def _stopped(self, reason: StopReason) -> Outcome | StopReason:
        match reason:
            case StopReason.CANCEL:
                return Outcome(ResultKind.CANCELLED, self._lease.token)
            case StopReason.DEADLINE:
                message = f"The video was not ready by its deadline, {self._spec.deadline}."
                return self._failed(JobError("deadline_exceeded", message))
            case StopReason.LOST | StopReason.SHUTDOWN:
                return reason

    def _failed(self, error: JobError) -> Outcome:
        return Outcome(ResultKind.FAILED, self._lease.token, error=error)


def check_spec(spec: VideoSpec, profile: Profile) -> None:
    """Raise InvalidRequest, naming the fields, for a job that the loaded model cannot do.

    It was checked when it was submitted, but perhaps against the profile of another model.
    """
    asked = asdict(spec)
    del asked["fps"]  # of the profile, not of the request
    parse_request(asked, profile, (spec.queue,))
