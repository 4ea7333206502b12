"""Reads the body of a v2 call that is no plain JSON, and says what is wrong with any of them.

The binary tensor extension puts the JSON first, its length in a header, and the bytes of tensors behind
it. KServe reads that too, but answers 500 to what is malformed; here the field is named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from kserve import InferRequest
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from kserve.utils.numpy_codec import to_np_dtype
from pydantic import ValidationError

from eventing.payload import json_of
from jobs.errors import FieldError, InvalidRequest

__all__ = ["JSON_LENGTH", "NamingDataPlane", "shape_faults"]

#: The header with the length in bytes of the JSON part.
JSON_LENGTH = "inference-header-content-length"

_RULE = "an inference request of the v2 protocol"
_MAX_FAULTS = 20


class NamingDataPlane(DataPlane):  # type: ignore[misc]  # kserve has no types
    """KServe's, which names the wrong fields of a binary call."""

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """The request of a v2 call. Raises InvalidRequest."""
        request = _request(body, headers.get(JSON_LENGTH)) if isinstance(body, bytes) else body
        return InferRequest.from_inference_request(request, model_name)


def shape_faults(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """What pydantic found wrong with the shape of a v2 call."""
    faults: dict[str, FieldError] = {}
    for error in errors:
        where = [str(part) for part in error["loc"] if part not in ("body", "InferenceRequest")]
        if where == ["bytes"]:
            continue  # FastAPI's alternative to an object
        name = ".".join(where[:4])[:64] or "body"
        if error["type"] == "json_invalid":  # its place is a number of characters
            faults["body"] = FieldError("body", "is no JSON in UTF-8", _RULE)
        else:
            faults.setdefault(name, FieldError(name, str(error["msg"]), _RULE))
    return list(faults.values())[:_MAX_FAULTS]


def _request(body: bytes, length: str | None) -> InferenceRequest:
    """Without the header all of it is JSON, whatever the content type says; curl's says nothing of use."""
    rule = f"0 to {len(body)}, the length of the JSON in bytes"
    if length is None:
        length = str(len(body))
    if not (length.isascii() and length.isdigit() and len(length) < 16) or int(length) > len(body):
        raise _wrong(JSON_LENGTH, f"{length[:40]!r} is not allowed", rule)
    head, tail = body[: int(length)], body[int(length) :]
    try:
        document = json_of(head)
    except ValueError as error:
        raise _wrong("body", str(error), _RULE) from None
    rest = _filled(document, tail)
    if rest:
        raise _wrong("body", f"has {len(rest)} bytes behind the last tensor", "as many as the tensors say")
    try:
        return InferenceRequest.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(shape_faults(error.errors(include_url=False, include_input=False))) from None


def _filled(document: object, tail: bytes) -> bytes:
    """Give each tensor whose data is in the tail that data, as JSON would have it; what is left of the tail.

    What is not even a list of tensors is left for the validation.
    """
    tensors = document.get("inputs") if isinstance(document, dict) else None
    for index, tensor in enumerate(tensors if isinstance(tensors, list) else ()):
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        if not isinstance(parameters, dict) or "binary_data_size" not in parameters or "data" in tensor:
            continue
        field = f"inputs.{index}.parameters.binary_data_size"
        size = parameters["binary_data_size"]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail):
            raise _wrong(field, "is not allowed", f"0 to {len(tail)}, the bytes that are left")
        try:
            tensor["data"] = _elements(str(tensor.get("datatype")).upper(), tail[:size])
        except (ValueError, struct.error) as error:
            problem = f"its {size} bytes are no elements of the datatype: {error}"
            raise _wrong(
                f"inputs.{index}.data", problem[:200], "the binary tensor extension's form"
            ) from None
        tail = tail[size:]
    return tail


def _elements(datatype: str, raw: bytes) -> list[Any]:
    """Raises ValueError, struct.error."""
    if datatype != "BYTES":
        dtype = to_np_dtype(datatype)
        if dtype is None:
            raise ValueError("it is unknown")
        numbers: list[Any] = np.frombuffer(raw, dtype).tolist()
        return numbers
    elements: list[Any] = []
    while raw and len(elements) < 2:  # one too many is enough to see
        (length,) = struct.unpack_from("<I", raw)
        if length > len(raw) - 4:
            raise ValueError("an element is cut off")
        elements.append(raw[4 : 4 + length].decode("utf-8"))
        raw = raw[4 + length :]
    return elements


def _wrong(field: str, problem: str, allowed: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, problem, allowed)])
