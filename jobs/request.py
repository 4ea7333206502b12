"""A request for a video, as asked (`VideoRequest`) and with nothing left open (`VideoSpec`).

Validation reports every wrong field at once, each with what is wrong and what is allowed. The model
would floor odd frame counts, die on sizes that are no multiple of 16 and divide by zero at one step:
all of that is refused here, at the door.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from secrets import randbelow
from typing import Annotated, Any, TypedDict

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from jobs.errors import FieldError, InvalidRequest
from jobs.profile import IntRange, Profile
from jobs.request_rules import (
    MAX_PROMPT,
    PROMPT_RULE,
    clean_text,
    field_error,
    is_blank,
    parse_deadline,
    shown,
    unknown_fields,
    wrong,
)
from jobs.video_spec import VideoSpec

__all__ = ["MAX_PROMPT", "MAX_SEED", "VideoRequest", "VideoSpec", "draw_seed", "parse_request", "resolve"]

MAX_SEED = 2**53 - 1  # the largest integer that a JavaScript client keeps

_EXCLUSIVE = (("num_frames", "duration_seconds"), ("quality", "num_inference_steps"))


class _Context(TypedDict):
    profile: Profile
    queues: Sequence[str]


def _context(info: ValidationInfo) -> _Context:
    context: _Context = info.context  # type: ignore[assignment]  # parse_request hands it in
    return context


class VideoRequest(BaseModel):
    """What a client asks for. Only `prompt` is required; the profile of the deployed model fills the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: str = Field(description=f"What the video shows: {PROMPT_RULE}.")
    negative_prompt: str | None = Field(
        None,
        description="What it must not show; at most 2000 characters. Absent: the model's own, mostly none.",
    )
    width: int | None = Field(None, description="Pixels, a multiple of 16.")
    height: int | None = Field(None, description="Pixels, a multiple of 16.")
    num_frames: int | None = Field(None, description="6k+1; not together with duration_seconds.")
    duration_seconds: float | None = Field(
        None, description="Seconds, rounded to the nearest 6k+1 frames; not together with num_frames."
    )
    quality: str | None = Field(
        None, description="low, medium or high; not together with num_inference_steps."
    )
    num_inference_steps: int | None = Field(None, description="Denoising steps; not together with quality.")
    guidance_scale: float | None = Field(None, description="How closely to follow the prompt.")
    seed: int | None = Field(None, description=f"0 to {MAX_SEED}; drawn and recorded where absent.")
    queue: str | None = Field(None, description="The class of work; chosen from the estimate where absent.")
    deadline: Annotated[AwareDatetime, BeforeValidator(parse_deadline)] | None = Field(
        None, description="RFC 3339: the time by which the video is wanted."
    )

    @field_validator("prompt")
    @classmethod
    def _prompt(cls, value: str) -> str:
        value = clean_text(value)
        if is_blank(value):
            raise wrong("is blank", PROMPT_RULE)
        return value

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt(cls, value: str | None) -> str | None:
        return None if value is None else clean_text(value)

    @field_validator("width", "height", "num_frames", "num_inference_steps")
    @classmethod
    def _in_profile(cls, value: int | None, info: ValidationInfo) -> int | None:
        allowed: IntRange = getattr(_context(info)["profile"], str(info.field_name))
        if value is not None and not allowed.allows(value):
            raise wrong(f"{shown(value)} is not allowed", allowed)
        return value

    @field_validator("duration_seconds")
    @classmethod
    def _duration(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None:
            profile: Profile = _context(info)["profile"]
            shortest, longest = (n / profile.fps for n in (profile.num_frames.min, profile.num_frames.max))
            frames = _frames(value, profile) if 0 < value < 1e6 else 0
            if not profile.num_frames.allows(frames):
                raise wrong(f"{shown(value)} is not allowed", f"{shortest:.2f} to {longest:.2f} seconds")
        return value

    @field_validator("quality")
    @classmethod
    def _quality(cls, value: str | None, info: ValidationInfo) -> str | None:
        qualities = _context(info)["profile"].quality
        if value is not None and value not in qualities:
            raise wrong(f"{shown(value)} is unknown", ", ".join(qualities))
        return value

    @field_validator("guidance_scale")
    @classmethod
    def _guidance(cls, value: float | None, info: ValidationInfo) -> float | None:
        allowed = _context(info)["profile"].guidance_scale
        if value is not None and not allowed.min <= value <= allowed.max:
            raise wrong(f"{shown(value)} is not allowed", allowed)
        return value

    @field_validator("seed")
    @classmethod
    def _seed(cls, value: int | None) -> int | None:
        if value is not None and not 0 <= value <= MAX_SEED:
            raise wrong(f"{shown(value)} is not allowed", f"0 to {MAX_SEED}")
        return value

    @field_validator("queue")
    @classmethod
    def _queue(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value not in _context(info)["queues"]:
            raise wrong(f"{shown(value)} is unknown", ", ".join(_context(info)["queues"]))
        return value

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was asked: after validation, before defaults and the drawn seed."""
        asked = self.model_dump(mode="json", exclude_none=True)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def parse_request(data: object, profile: Profile, queues: Sequence[str]) -> VideoRequest:
    """Validate decoded JSON against the deployed model's profile and the pool's queues.

    Raises InvalidRequest with every wrong field.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest([FieldError("body", "is no JSON object", "a JSON object with a prompt")])
    known = tuple(VideoRequest.model_fields)
    given = {name: data[name] for name in known if name in data}
    errors: list[FieldError] = []
    request: VideoRequest | None = None
    context: _Context = {"profile": profile, "queues": tuple(queues)}
    try:
        request = VideoRequest.model_validate(given, context=context)
    except ValidationError as error:
        errors = [field_error(dict(e)) for e in error.errors(include_url=False, include_input=False)]
    if not {e.field for e in errors} & {"width", "height"}:
        errors += _too_large(given, profile)
    errors += _both_given(given) + unknown_fields(data, known)
    if errors or request is None:
        raise InvalidRequest(errors)
    return request


def _too_large(given: Mapping[str, Any], profile: Profile) -> list[FieldError]:
    """Each side may be allowed, and both together not. The sides are valid by themselves."""
    sides = {"width": given.get("width"), "height": given.get("height")}
    named = [name for name, side in sides.items() if side is not None]
    width = profile.width.default if sides["width"] is None else sides["width"]
    height = profile.height.default if sides["height"] is None else sides["height"]
    if width * height <= profile.max_pixels:
        return []
    rule = f"width x height of at most {profile.max_pixels} pixels"
    return [FieldError(name, f"{width}x{height} is too large", rule) for name in named]


def _both_given(given: Mapping[str, Any]) -> list[FieldError]:
    return [
        FieldError(name, f"given together with {other}", f"either {one} or {two}")
        for one, two in _EXCLUSIVE
        if given.get(one) is not None and given.get(two) is not None
        for name, other in ((one, two), (two, one))
    ]


def _frames(seconds: float, profile: Profile) -> int:
    rule = profile.num_frames
    return round((seconds * profile.fps - rule.offset) / rule.multiple_of) * rule.multiple_of + rule.offset


def draw_seed() -> int:
    """A random seed, 0 to 2^53-1."""
    return randbelow(MAX_SEED + 1)


def resolve(request: VideoRequest, profile: Profile, queues: Sequence[str], seed: int) -> VideoSpec:
    """Fill what the request leaves open from the profile; `seed` is used where it has none."""
    width = request.width if request.width is not None else profile.width.default
    height = request.height if request.height is not None else profile.height.default
    if request.duration_seconds is not None:
        num_frames = _frames(request.duration_seconds, profile)
    else:
        num_frames = request.num_frames if request.num_frames is not None else profile.num_frames.default
    if request.quality is not None:
        steps = profile.quality[request.quality]
    else:
        steps = request.num_inference_steps or profile.num_inference_steps.default
    guidance, negative = request.guidance_scale, request.negative_prompt
    seconds = profile.estimate_seconds(width, height, num_frames, steps)
    return VideoSpec(
        prompt=request.prompt,
        negative_prompt=negative if negative is not None else profile.negative_prompt,
        width=width,
        height=height,
        num_frames=num_frames,
        fps=profile.fps,
        num_inference_steps=steps,
        guidance_scale=guidance if guidance is not None else profile.guidance_scale.default,
        seed=request.seed if request.seed is not None else seed,
        queue=request.queue or (queues[0] if seconds <= profile.short_seconds else queues[-1]),
        deadline=request.deadline.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if request.deadline
        else None,
    )
