"""The v2 protocol: what tensors mean, and what is said about wrong ones. KServe's types, no server."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kserve import InferInput, InferRequest, InferResponse
from kserve.model_repository import ModelRepository
from kserve.protocol.infer_type import RequestedOutput

from inference_service.tensors import INPUTS, OUTPUTS, check_outputs, fields_of, response_of
from inference_service.v2_requests import JSON_LENGTH, NamingDataPlane
from jobs.errors import InvalidRequest
from jobs.job import Artifact
from jobs.request import VideoRequest
from tests.inference_service.support import SPEC
from tests.inference_service.support import job as make_job

ARTIFACT = Artifact("videos/1/video.mp4", "s3://b/videos/1/video.mp4", "e7a9", 4711, "videos/1/poster.jpg")
PROMPT = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a red circle"]}


def request(*tensors: tuple[str, str, Any], outputs: list[RequestedOutput] | None = None) -> InferRequest:
    inputs = [InferInput(name, [1], datatype, data) for name, datatype, data in tensors]
    return InferRequest("mochi-1", inputs, request_id="r1", request_outputs=outputs)


def test_every_field_of_a_request_has_a_tensor() -> None:
    assert set(INPUTS) == set(VideoRequest.model_fields)


@pytest.mark.parametrize(
    ("name", "datatype", "element", "value"),
    [
        ("prompt", "BYTES", "a ž", "a ž"),
        ("prompt", "BYTES", "12", "12"),
        ("width", "INT64", 64, 64),
        ("width", "UINT8", 64, 64),
        ("width", "BYTES", "64", 64),
        ("seed", "BYTES", "9007199254740991", 2**53 - 1),
        ("width", "BYTES", "wide", "wide"),
        ("width", "BYTES", "6_4", "6_4"),
        ("guidance_scale", "FP32", 4.5, 4.5),
        ("guidance_scale", "INT64", 4, 4),
        ("guidance_scale", "BYTES", "4.5", 4.5),
        ("guidance_scale", "BYTES", "nan", "nan"),
        ("colour", "INT8", 3, 3),
    ],
)
def test_an_element_becomes_a_field(name: str, datatype: str, element: object, value: object) -> None:
    fields = fields_of(request((name, datatype, [element])))
    assert fields == {name: value}
    assert type(fields[name]) is type(value)


def test_nested_lists_are_one_element() -> None:
    tensor = InferInput("prompt", [1, 1], "BYTES", [["a"]])
    assert fields_of(InferRequest("mochi-1", [tensor])) == {"prompt": "a"}


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ([("prompt", "BYTES", ["a", "b"])], "is no list of one element"),
        ([("prompt", "BYTES", [])], "is no list of one element"),
        ([("prompt", "BYTES", [["a", "b"]])], "is no list of one element"),
        ([("prompt", "INT64", [1])], "has the datatype 'INT64'"),
        ([("width", "FP32", [64.0])], "has the datatype 'FP32'"),
        ([("guidance_scale", "BOOL", [True])], "has the datatype 'BOOL'"),
        ([("prompt", "BYTES", ["a"]), ("prompt", "BYTES", ["b"])], "is there twice"),
    ],
)
def test_a_wrong_tensor_is_named(tensors: list[tuple[str, str, Any]], problem: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        fields_of(request(*tensors))
    assert [(e.field, e.problem) for e in raised.value.errors] == [(tensors[-1][0], problem)]


def test_a_shape_of_more_than_one_element_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        fields_of(InferRequest("mochi-1", [InferInput("prompt", [2], "BYTES", ["a"])]))


def test_an_output_that_no_answer_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="outputs: 'audio' is unknown") as raised:
        check_outputs(request(outputs=[RequestedOutput("etag"), RequestedOutput("audio")]))
    assert len(raised.value.errors) == 1


def answer(asked: InferRequest) -> InferResponse:
    prediction = {"video_url": "http://v", "poster_url": "http://p", "job": {"job_id": "1"}}
    return response_of(asked, "mochi-1", replace(make_job(), artifact=ARTIFACT), ARTIFACT, prediction)


def test_an_answer_has_every_output() -> None:
    document, length = answer(request()).to_rest()
    assert (document["id"], document["model_name"], length) == ("r1", "mochi-1", None)
    found = {o["name"]: (o["datatype"], o["shape"], o["data"]) for o in document["outputs"]}
    assert {name: datatype for name, (datatype, _, _) in found.items()} == dict(OUTPUTS)
    assert found["etag"] == ("BYTES", [1], ["e7a9"])
    assert found["bytes"] == ("INT64", [1], [4711])
    assert found["seed"] == ("INT64", [1], [SPEC.seed])
    assert json.loads(found["job"][2][0]) == {"job_id": "1"}


def test_an_answer_has_what_was_asked_for() -> None:
    asked = [RequestedOutput("bytes", {"binary_data": True}), RequestedOutput("etag")]
    body, length = answer(request(outputs=asked)).to_rest()
    back = InferResponse.from_bytes(body, length)
    assert [(o.name, o.data) for o in back.outputs] == [("bytes", [4711]), ("etag", ["e7a9"])]


def decode(body: bytes, **headers: str) -> InferRequest:
    plane = NamingDataPlane(model_registry=ModelRepository())
    decoded, _ = plane.decode(body, headers, protocol_version="v2", model_name="mochi-1")
    assert isinstance(decoded, InferRequest)
    return decoded


def binary(*tensors: dict[str, Any], tail: bytes = b"", length: int | None = None) -> InferRequest:
    head = json.dumps({"inputs": tensors}).encode()
    return decode(head + tail, **{JSON_LENGTH: str(len(head) if length is None else length)})


def raw(name: str, datatype: str, size: object) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": size}}


def test_binary_tensors_of_kserves_own_client_are_read() -> None:
    inputs = [InferInput(name, [1], datatype) for name, datatype in (("prompt", "BYTES"), ("width", "INT64"))]
    inputs[0].set_data_from_numpy(np.array(["a žluť"], dtype=np.object_))
    inputs[1].set_data_from_numpy(np.array([64], dtype=np.int64))
    body, length = InferRequest("mochi-1", [*inputs, InferInput("seed", [1], "BYTES", ["7"])]).to_rest()
    assert fields_of(decode(body, **{JSON_LENGTH: str(length)})) == {
        "prompt": "a žluť",
        "width": 64,
        "seed": 7,
    }


def test_json_without_a_content_type_is_read() -> None:
    assert fields_of(decode(json.dumps({"inputs": [PROMPT]}).encode())) == {"prompt": "a red circle"}


@pytest.mark.parametrize("length", ["-1", "x", "1000000", "9" * 5000, "²"])
def test_a_wrong_length_of_the_json_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        decode(b"{}", **{JSON_LENGTH: length})
    assert [e.field for e in raised.value.errors] == [JSON_LENGTH]


@pytest.mark.parametrize(
    ("tensor", "tail", "field"),
    [
        (raw("prompt", "BYTES", 9), b"\x01\0\0\0", "inputs.0.parameters.binary_data_size"),
        (raw("prompt", "BYTES", -1), b"\x01\0\0\0", "inputs.0.parameters.binary_data_size"),
        (raw("prompt", "BYTES", True), b"a", "inputs.0.parameters.binary_data_size"),
        (raw("prompt", "BYTES", "4"), b"\0\0\0\0", "inputs.0.parameters.binary_data_size"),
        (raw("prompt", "BYTES", 5), struct.pack("<I", 9) + b"a", "inputs.0.data"),
        (raw("prompt", "BYTES", 3), b"\0\0\0", "inputs.0.data"),
        (raw("prompt", "BYTES", 5), struct.pack("<I", 1) + b"\xff", "inputs.0.data"),
        (raw("width", "INT64", 3), b"\0\0\0", "inputs.0.data"),
        (raw("width", "INT7", 3), b"\0\0\0", "inputs.0.data"),
        (PROMPT, b"more", "body"),
        ({"name": "prompt", "shape": [1], "datatype": "BYTES"}, b"", "inputs.0.data"),
        ({**PROMPT, "shape": "one"}, b"", "inputs.0.shape"),
    ],
)
def test_a_wrong_binary_call_names_the_field(tensor: dict[str, Any], tail: bytes, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        binary(tensor, tail=tail)
    assert [e.field for e in raised.value.errors] == [field]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"inputs": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body)
