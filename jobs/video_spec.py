"""A request with nothing left open, as the record of its job keeps it. Knows no profile and no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

__all__ = ["VideoSpec"]


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
        return dict(vars(self))  # flat: asdict would copy each field deeply

    def to_json(self) -> str:
        """Compact JSON, as the job's record keeps it."""
        return json.dumps(vars(self), separators=(",", ":"), ensure_ascii=False)

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
