"""How long things take on this process's GPU: as measured, before that as the profile estimates.

Knows no clock: it is told. Its methods may be called from any thread; a stale figure does no harm.
"""

from __future__ import annotations

import structlog

from jobs.errors import ConfigurationError
from jobs.profile import IntRange, Profile
from jobs.request import VideoSpec

__all__ = ["Pace", "check_budget", "default_need", "largest_need"]

log = structlog.get_logger(__name__)


class Pace:
    """The newest measurements, for each megapixel-frame."""

    def __init__(self, profile: Profile) -> None:
        self._step = profile.estimate.per_step
        self._decode = profile.estimate.decode
        self._base = profile.estimate.base  # in it are encoding and uploading
        self._largest = _largest(profile)
        #: Seconds that the newest checkpoint took until it was durable.
        self.checkpoint = 0.0

    def step(self, spec: VideoSpec) -> float:
        """Seconds of one denoising step."""
        return self._step * _megapixel_frames(spec)

    def longest_step(self) -> float:
        """Seconds of one step of the largest clip that the model makes."""
        return self._step * self._largest

    def tail(self, spec: VideoSpec) -> float:
        """Seconds from the last step to the video file: what cannot be done in slices."""
        return self._base + self._decode * _megapixel_frames(spec)

    def stepped(self, spec: VideoSpec, seconds: float) -> None:
        """A step took so long."""
        self._step = seconds / _megapixel_frames(spec)

    def decoded(self, spec: VideoSpec, seconds: float) -> None:
        """Decoding took so long."""
        self._decode = seconds / _megapixel_frames(spec)


def check_budget(seconds: float, profile: Profile) -> None:
    """Refuse a budget of a slice that cannot hold a step and the decode of the model's default clip.

    Of the default clip, because the estimate of a model that none ships for is an order of magnitude: a
    larger clip is only warned of, for its decode works too, at the beginning of a slice, which then takes
    longer than its budget. Raises ConfigurationError.
    """
    need, most = default_need(profile), largest_need(profile)
    if need > seconds:
        raise ConfigurationError(
            f"MOCHI_SLICE_SECONDS={seconds:g} is too small for {profile.name}: a step and the decode of its "
            f"default clip take {need:.1f} s by the estimate"
        )
    if most > seconds:
        log.warning("short_slices", setting=f"MOCHI_SLICE_SECONDS={seconds:g}", largest_clip=round(most, 1))


def default_need(profile: Profile) -> float:
    """Seconds of a step and the decode of the clip that is made when nothing is asked, by the estimate."""
    width, height = profile.width.default, profile.height.default
    return _need(profile, width * height * profile.num_frames.default / 1e6)


def largest_need(profile: Profile) -> float:
    """The same of the largest clip."""
    return _need(profile, _largest(profile))


def _need(profile: Profile, megapixel_frames: float) -> float:
    return megapixel_frames * (profile.estimate.per_step + profile.estimate.decode)


def _largest(profile: Profile) -> float:
    frames: IntRange = profile.num_frames
    return profile.max_pixels * frames.max / 1e6


def _megapixel_frames(spec: VideoSpec) -> float:
    return spec.width * spec.height * spec.num_frames / 1e6
