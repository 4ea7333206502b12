"""What is kept of a job at work, as bytes: a safetensors file that says what it belongs to.

Its metadata hold the job, the request's fingerprint, the model's identity, the step and a checksum. What
is read back is either exactly what was kept for this job, request and model, or refused with the reason.
Knows no file and no server.

The format (a length, a JSON header, the tensors) is written here: numpy has no bfloat16, torch is not
wanted in a process without a model, and the low-level functions of the library change between versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_service.pipeline import Frames, Latents
from jobs.job import Job

__all__ = ["Identity", "Unusable", "frames_from", "frames_to", "latents_from", "latents_to"]

_LENGTH = 8  # bytes of the header's length
_ALIGNMENT = 8  # bytes; the library pads its headers to it with spaces
_LONGEST_HEADER = 1 << 20  # bytes


class Unusable(Exception):
    """It cannot be gone on with; the message says why."""


@dataclass(frozen=True)
class Identity:
    """Whose latents and frames these are."""

    job_id: str
    request: str  # the fingerprint of its request
    model: Mapping[str, str]

    @classmethod
    def of(cls, job: Job, model: Mapping[str, str]) -> Identity:
        """Of a job on a model."""
        return cls(job.id, hashlib.sha256(job.spec.to_json().encode()).hexdigest(), model)

    def metadata(self) -> dict[str, str]:
        """As text."""
        return {
            "job": self.job_id,
            "request": self.request,
            **{f"model.{name}": value for name, value in sorted(self.model.items())},
        }


def latents_to(latents: Latents, identity: Identity) -> bytes:
    """Latents as the bytes of a file."""
    return _write("latents", latents, identity)


def latents_from(content: bytes, identity: Identity) -> Latents:
    """The inverse. Raises Unusable."""
    return _read("latents", content, identity)


def frames_to(frames: Frames, step: int, identity: Identity) -> bytes:
    """A decoded clip as the bytes of a file."""
    return _write("frames", Latents(step, "U8", frames.shape, frames.tobytes()), identity)


def frames_from(content: bytes, identity: Identity) -> Frames:
    """The inverse. Raises Unusable."""
    found = _read("frames", content, identity)
    return np.frombuffer(found.data, np.uint8).reshape(found.shape)


def _write(name: str, tensor: Latents, identity: Identity) -> bytes:
    header = {
        "__metadata__": identity.metadata()
        | {"step": str(tensor.step), "sha256": hashlib.sha256(tensor.data).hexdigest()},
        name: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [0, len(tensor.data)]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH, "little") + text + tensor.data


def _read(name: str, content: bytes, identity: Identity) -> Latents:
    size = int.from_bytes(content[:_LENGTH], "little")
    if size > min(len(content) - _LENGTH, _LONGEST_HEADER):
        raise Unusable("it is torn: its header is not whole")
    try:
        header: dict[str, Any] = json.loads(content[_LENGTH : _LENGTH + size])
        kept: dict[str, str] = header["__metadata__"]
        tensor = header[name]
        step, checksum = int(kept["step"]), kept["sha256"]
        dtype, shape = str(tensor["dtype"]), tuple(map(int, tensor["shape"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Unusable(f"it is torn: its header cannot be read ({type(error).__name__})") from None
    for what, value in identity.metadata().items():
        if kept.get(what) != value:
            raise Unusable(f"it is of another {what}")
    data = content[_LENGTH + size :]
    if hashlib.sha256(data).hexdigest() != checksum:
        raise Unusable("it is torn: its checksum is wrong")
    return Latents(step, dtype, shape, data)
