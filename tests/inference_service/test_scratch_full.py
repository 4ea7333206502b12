"""A scratch volume that has no more room."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import structlog

from inference_service.pipeline import Frames, Latents, Progress
from jobs.job import EventKind
from jobs.request import VideoSpec
from tests.inference_service.rig import MakeRig, Rig, Scripted
from tests.inference_service.support import SPEC


@pytest.fixture
def full() -> Iterator[None]:
    """No file of this process may be larger than 100 kB, as on a volume that has no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LARGE = replace(SPEC, width=128, height=128, num_frames=61)


@pytest.mark.usefixtures("full")
async def test_a_job_goes_on_where_its_frames_cannot_be_kept(rig: Rig) -> None:
    job = await rig.submit(LARGE)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(job)
    assert replies[-1].kind is EventKind.COMPLETED
    assert [line["consequence"] for line in logs if line["event"] == "scratch_full"] == [
        "the decoded frames are not kept"
    ]
    assert await rig.files() == []


@pytest.mark.usefixtures("full")
async def test_a_video_that_cannot_be_written_fails_the_job_with_the_reason(make_rig: MakeRig) -> None:
    class Noise(Scripted):
        def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
            shape = super().decode(spec, latents, progress).shape
            return np.random.default_rng(1).integers(0, 256, shape, np.uint8)

    rig = make_rig(Noise())
    replies = await rig.to_the_end(await rig.submit(LARGE))
    outcome = replies[-1].outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == "scratch_full"
    assert "scratch volume" in outcome.error.message
    assert await rig.files() == []
