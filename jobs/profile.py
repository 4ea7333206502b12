"""A profile: what a deployed model can do, and what it does when a request does not say.

Profiles ship for the models that we know (`jobs/profiles/`); the predictor stores the one of the model
that it really loaded, and that one wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.request_rules import MAX_PROMPT

__all__ = ["Estimate", "FloatRange", "IntRange", "Profile", "shipped_profile"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IntRange(_Frozen):
    """Allowed integers: from `min` to `max`, where `(value - offset) % multiple_of == 0`."""

    min: int
    max: int
    default: int
    multiple_of: int = Field(default=1, gt=0)
    offset: int = 0

    def allows(self, value: int) -> bool:
        """Whether `value` is one of the allowed integers."""
        return self.min <= value <= self.max and (value - self.offset) % self.multiple_of == 0

    def __str__(self) -> str:
        bounds = f"{self.min} to {self.max}"
        if self.offset:
            return f"{self.multiple_of}k+{self.offset} from {bounds}"
        return f"multiples of {self.multiple_of} from {bounds}" if self.multiple_of > 1 else bounds

    @model_validator(mode="after")
    def _default_is_allowed(self) -> IntRange:
        if not self.allows(self.default):
            raise ValueError(f"default {self.default} is not among {self}")
        return self


class FloatRange(_Frozen):
    """Allowed numbers, both ends included."""

    min: float
    max: float
    default: float

    def __str__(self) -> str:
        return f"{self.min:g} to {self.max:g}"

    @model_validator(mode="after")
    def _default_is_allowed(self) -> FloatRange:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"default {self.default:g} is not among {self}")
        return self


class Estimate(_Frozen):
    """GPU seconds = base + megapixels x frames x (steps x per_step + decode)."""

    base: float = Field(ge=0)  # seconds: prompt encoding, video encoding, upload
    per_step: float = Field(gt=0)  # seconds a denoising step and megapixel-frame
    decode: float = Field(ge=0)  # seconds of VAE decoding a megapixel-frame


class Profile(_Frozen):
    """What a deployed model can do. Sizes in pixels, `fps` in frames a second."""

    name: str
    fps: int = Field(default=30, gt=0)
    width: IntRange
    height: IntRange
    max_pixels: int  # width x height
    num_frames: IntRange
    num_inference_steps: IntRange
    quality: Mapping[str, int] = Field(min_length=1)  # name → denoising steps
    guidance_scale: FloatRange
    negative_prompt: str = Field(default="", max_length=MAX_PROMPT)  # of requests without one
    short_seconds: float = Field(
        ge=0
    )  # jobs estimated at most this long go to the first queue, others to the last
    estimate: Estimate

    def estimate_seconds(self, width: int, height: int, num_frames: int, steps: int) -> float:
        """GPU seconds that a job of this size is expected to take."""
        megapixel_frames = width * height * num_frames / 1e6
        return self.estimate.base + megapixel_frames * (steps * self.estimate.per_step + self.estimate.decode)

    @model_validator(mode="after")
    def _holds_together(self) -> Profile:
        if self.width.default * self.height.default > self.max_pixels:
            raise ValueError(f"the default size has more than max_pixels, {self.max_pixels}")
        for name, steps in self.quality.items():
            if not self.num_inference_steps.allows(steps):
                raise ValueError(f"quality {name}: {steps} steps are not among {self.num_inference_steps}")
        return self


def shipped_profile(model_name: str) -> Profile | None:
    """The profile shipped for a model (`genmo/mochi-1-preview` → `mochi-1-preview`), or None."""
    path = resources.files("jobs") / "profiles" / f"{model_name.rsplit('/', 1)[-1]}.json"
    return Profile.model_validate_json(path.read_text("utf-8")) if path.is_file() else None
