"""A request for a video, as asked (`VideoRequest`) and with nothing left open (`VideoSpec`).

Validation reports every wrong field at once, each with what is wrong and what is allowed. The model
would floor odd frame counts, die on sizes that are no multiple of 16 and divide by zero at one step:
all of that is refused here, at the door.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from secrets import randbelow
from typing import Annotated, Any, Self

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
from pydantic_core import PydanticCustomError

from jobs.errors import FieldError, InvalidRequest
from jobs.profile import IntRange, Profile

__all__ = ["MAX_PROMPT", "MAX_SEED", "VideoRequest", "VideoSpec", "draw_seed", "parse_request", "resolve"]

MAX_PROMPT = 2000  # characters after trimming
MAX_SEED = 2**53 - 1  # the largest integer that a JavaScript client keeps

_ALLOWED_CONTROLS = frozenset("\n\r\t")
_PROMPT_RULE = f"1 to {MAX_PROMPT} characters after trimming, no control characters"


def _wrong(problem: str, allowed: object) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "allowed": str(allowed)})


def _clean_text(text: str) -> str:
    # Cc: control characters; Cs: half a surrogate pair, which no UTF-8 can carry.
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in _ALLOWED_CONTROLS for c in text):
        raise _wrong("contains a control character", _PROMPT_RULE)
    text = text.strip()
    if len(text) > MAX_PROMPT:
        raise _wrong(f"has {len(text)} characters", _PROMPT_RULE)
    return text


def _rfc3339(value: object) -> object:
    # Pydantic would take a bare number as seconds since the epoch; the contract is RFC 3339.
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise _wrong("is not a time", "RFC 3339 with a time zone, e.g. 2030-01-31T12:00:00Z")


class VideoRequest(BaseModel):
    """What a client asks for. Only `prompt` is required; the profile of the deployed model fills the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: str = Field(description=f"What the video shows: {_PROMPT_RULE}.")
    negative_prompt: str | None = Field(None, description="What it must not show; at most 2000 characters.")
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
    deadline: Annotated[AwareDatetime, BeforeValidator(_rfc3339)] | None = Field(
        None, description="RFC 3339: the time by which the video is wanted."
    )

    @field_validator("prompt")
    @classmethod
    def _prompt(cls, value: str) -> str:
        value = _clean_text(value)
        if not value:
            raise _wrong("is blank", _PROMPT_RULE)
        return value

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt(cls, value: str | None) -> str | None:
        return None if value is None else _clean_text(value)

    @field_validator("width", "height", "num_frames", "num_inference_steps")
    @classmethod
    def _in_profile(cls, value: int | None, info: ValidationInfo) -> int | None:
        allowed: IntRange = getattr(info.context["profile"], str(info.field_name))
        if value is not None and not allowed.allows(value):
            raise _wrong(f"{value} is not allowed", allowed)
        return value

    @field_validator("duration_seconds")
    @classmethod
    def _duration(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None:
            profile: Profile = info.context["profile"]
            shortest, longest = (n / profile.fps for n in (profile.num_frames.min, profile.num_frames.max))
            frames = _frames(value, profile) if 0 < value < 1e6 else 0
            if not profile.num_frames.allows(frames):
                raise _wrong(f"{value:g} is not allowed", f"{shortest:.2f} to {longest:.2f} seconds")
        return value

    @field_validator("quality")
    @classmethod
    def _quality(cls, value: str | None, info: ValidationInfo) -> str | None:
        qualities = info.context["profile"].quality
        if value is not None and value not in qualities:
            raise _wrong(f"{value[:40]!r} is unknown", ", ".join(qualities))
        return value

    @field_validator("guidance_scale")
    @classmethod
    def _guidance(cls, value: float | None, info: ValidationInfo) -> float | None:
        allowed = info.context["profile"].guidance_scale
        if value is not None and not allowed.min <= value <= allowed.max:
            raise _wrong(f"{value:g} is not allowed", allowed)
        return value

    @field_validator("seed")
    @classmethod
    def _seed(cls, value: int | None) -> int | None:
        if value is not None and not 0 <= value <= MAX_SEED:
            raise _wrong(f"{value} is not allowed", f"0 to {MAX_SEED}")
        return value

    @field_validator("queue")
    @classmethod
    def _queue(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value not in info.context["queues"]:
            raise _wrong(f"{value[:40]!r} is unknown", ", ".join(info.context["queues"]))
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
    errors: list[FieldError] = []
    request: VideoRequest | None = None
    try:
        request = VideoRequest.model_validate(data, context={"profile": profile, "queues": tuple(queues)})
    except ValidationError as error:
        errors = [_field_error(dict(e)) for e in error.errors(include_url=False, include_input=False)]
    wrong = {e.field for e in errors}
    for one, other in (("num_frames", "duration_seconds"), ("quality", "num_inference_steps")):
        if data.get(one) is not None and data.get(other) is not None:
            rule = f"either {one} or {other}"
            errors += [
                FieldError(n, f"given together with {o}", rule) for n, o in ((one, other), (other, one))
            ]
    size_given = request or not wrong & {"width", "height"}
    if size_given and (data.get("width") is not None or data.get("height") is not None):
        width = data.get("width") if data.get("width") is not None else profile.width.default
        height = data.get("height") if data.get("height") is not None else profile.height.default
        if isinstance(width, int) and isinstance(height, int) and width * height > profile.max_pixels:
            rule = f"width x height of at most {profile.max_pixels} pixels"
            errors += [FieldError(n, f"{width}x{height} is too large", rule) for n in ("width", "height")]
    if errors or request is None:
        raise InvalidRequest(errors)
    return request


def _field_error(error: dict[str, Any]) -> FieldError:
    name = ".".join(str(part) for part in error["loc"]) or "body"
    context = error.get("ctx", {})
    match error["type"]:
        case "wrong":
            return FieldError(name, context["problem"], context["allowed"])
        case "missing":
            return FieldError(name, "is missing", _PROMPT_RULE)
        case "extra_forbidden":
            return FieldError(name[:64], "is unknown", ", ".join(VideoRequest.model_fields))
        case "finite_number":
            return FieldError(name, "is not a finite number", "a finite number")
        case "timezone_aware":
            return FieldError(name, "has no time zone", "RFC 3339 with a time zone")
        case _:
            wanted = {"int": "an integer", "float": "a number", "string": "a string"}
            return FieldError(
                name, "has the wrong type", wanted.get(error["type"].split("_")[0], error["msg"])
            )


@dataclass(frozen=True)
class VideoSpec:
    """A request with nothing left open: what the predictor does, and what the record keeps."""

    prompt: str
    negative_prompt: str
    width: int  # pixels
    height: int  # pixels
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    queue: str
    deadline: str | None = None  # RFC 3339 in UTC

    def public(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    def to_json(self) -> str:
        """Compact JSON, as the job's record keeps it."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    @property
    def deadline_us(self) -> int | None:
        """The deadline in microseconds since the epoch."""
        if self.deadline is None:
            return None
        moment = datetime.fromisoformat(self.deadline)
        return int(moment.timestamp()) * 1_000_000 + moment.microsecond


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
    guidance = request.guidance_scale
    seconds = profile.estimate_seconds(width, height, num_frames, steps)
    return VideoSpec(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or "",
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
