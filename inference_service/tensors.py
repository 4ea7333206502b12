"""The tensors of the v2 protocol: from them the fields of a request, and to them what became of it.

Every tensor has one element. A number may be sent as a number or as text, so that string tensors (BYTES)
are enough for any request. Knows no HTTP.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse

from jobs.errors import FieldError, InvalidRequest
from jobs.job import Artifact, Job

__all__ = ["INPUTS", "OUTPUTS", "check_outputs", "fields_of", "response_of"]

#: The datatype of each field of a request.
INPUTS: Mapping[str, str] = (
    dict.fromkeys(("prompt", "negative_prompt", "quality", "queue", "deadline"), "BYTES")
    | dict.fromkeys(("width", "height", "num_frames", "num_inference_steps", "seed"), "INT64")
    | dict.fromkeys(("guidance_scale", "duration_seconds"), "FP64")
)
#: The datatype of each tensor of an answer. `job` is the job as the HTTP API shows it, as JSON.
OUTPUTS: Mapping[str, str] = {
    "video_url": "BYTES",
    "poster_url": "BYTES",
    "job_id": "BYTES",
    "etag": "BYTES",
    "bytes": "INT64",
    "seed": "INT64",
    "job": "BYTES",
}

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_ALLOWED = {
    "BYTES": frozenset({"BYTES"}),
    "INT64": _INTEGERS | {"BYTES"},
    "FP64": _INTEGERS | {"BYTES", "FP32", "FP64"},
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{1,19})?([eE][+-]?[0-9]{1,3})?")


def fields_of(request: InferRequest) -> dict[str, Any]:
    """The fields of a v2 call, not yet validated but for their form. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    faults: list[FieldError] = []
    for tensor in request.inputs:
        name = str(tensor.name)
        elements = _flat(tensor.data)
        datatypes = _ALLOWED.get(INPUTS.get(name, ""))
        if name in fields:
            faults.append(FieldError(name[:64], "is there twice", "one tensor a field"))
        elif len(elements) != 1 or any(size != 1 for size in tensor.shape):
            faults.append(FieldError(name[:64], "is no list of one element", "one element, its shape [1]"))
        elif datatypes is not None and tensor.datatype not in datatypes:
            problem = f"has the datatype {ascii(tensor.datatype)[:40]}"
            faults.append(FieldError(name, problem, " or ".join(sorted(datatypes))))
        fields[name] = _value(name, elements[0]) if elements else None
    if faults:
        raise InvalidRequest(faults[:20])
    return fields


def check_outputs(request: InferRequest) -> None:
    """Refuse a call that asks for a tensor which no answer has, before its work. Raises InvalidRequest."""
    asked = [str(output.name) for output in request.request_outputs or ()]
    unknown = [name for name in asked if name not in OUTPUTS]
    if unknown:
        rule = ", ".join(OUTPUTS)
        raise InvalidRequest(
            [FieldError("outputs", f"{ascii(n)[:66]} is unknown", rule) for n in unknown[:20]]
        )


def response_of(
    request: InferRequest, model: str, job: Job, artifact: Artifact, prediction: Mapping[str, Any]
) -> InferResponse:
    """The answer to a v2 call, with the tensors that it asks for, in the form that it asks for.

    `prediction` is the answer to a v1 call: `video_url`, `poster_url` and `job`.
    """
    values: dict[str, str | int] = {
        "video_url": prediction["video_url"],
        "poster_url": prediction["poster_url"],
        "job_id": job.id,
        "etag": artifact.etag,
        "bytes": artifact.bytes,
        "seed": job.spec.seed,
        "job": json.dumps(prediction["job"]),
    }
    return InferResponse(
        request.id or str(uuid.uuid4()),
        model,
        [InferOutput(name, [1], datatype, [values[name]]) for name, datatype in OUTPUTS.items()],
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _flat(data: object) -> list[Any]:
    """The elements, which may come as nested lists; two are enough to see that they are too many."""
    while isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
        data = data[0]
    return data[:2] if isinstance(data, list) else []


def _value(name: str, element: object) -> object:
    """A number that came as text as a number. Of all else the validation says what is wrong with it."""
    if isinstance(element, str):
        if INPUTS.get(name) == "INT64" and _INTEGER.fullmatch(element):
            return int(element)
        if INPUTS.get(name) == "FP64" and _NUMBER.fullmatch(element):
            return float(element)
    return element
