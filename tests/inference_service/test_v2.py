"""The v2 protocol over HTTP: the real server, called by KServe's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from inference_service.tensors import INPUTS, OUTPUTS
from jobs.store import JobStore
from tests.inference_service.test_server import READY, Server, decoded, free_the_credit, submit

# Fixtures of the server's own tests.
from tests.inference_service.test_server import broker as broker
from tests.inference_service.test_server import fast_server as fast_server

INFER = "/v2/models/mochi-1/infer"
PROMPT = InferInput("prompt", [1], "BYTES", ["a red circle"])


def text(**fields: str) -> list[InferInput]:
    return [PROMPT, *(InferInput(name, [1], "BYTES", [value]) for name, value in fields.items())]


@pytest.fixture
async def kserve(fast_server: Server) -> AsyncIterator[InferenceRESTClient]:
    await fast_server.answers(READY, 200)
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        yield client


async def infer(
    client: InferenceRESTClient, server: Server, request: InferRequest, **headers: str
) -> dict[str, Any]:
    base = str(server.client.base_url)
    answer = await client.infer(base, request, model_name="mochi-1", headers=headers)
    assert isinstance(answer, InferResponse)
    return {output.name: output.data[0] for output in answer.outputs}


async def test_string_tensors_in_a_video_out(
    kserve: InferenceRESTClient, fast_server: Server, store: JobStore
) -> None:
    base = str(fast_server.client.base_url)
    assert await kserve.is_server_live(base)
    assert await kserve.is_model_ready(base, "mochi-1")
    metadata = (await fast_server.client.get("/v2/models/mochi-1")).json()
    assert {t["name"]: t["datatype"] for t in metadata["inputs"]} == dict(INPUTS)
    assert {t["name"]: t["datatype"] for t in metadata["outputs"]} == dict(OUTPUTS)

    tensors = text(negative_prompt="rain", width="32", height="32", num_frames="7", seed="9", quality="low")
    found = await infer(kserve, fast_server, InferRequest("mochi-1", tensors))
    assert set(found) == set(OUTPUTS)
    async with httpx.AsyncClient() as plain:
        video = await plain.get(found["video_url"])
    assert decoded(video.content) == (7, 32, 32)
    assert video.headers["etag"].strip('"') == found["etag"]
    assert (found["bytes"], found["seed"]) == (len(video.content), 9)
    job = json.loads(found["job"])
    assert (job["job_id"], job["request"]["negative_prompt"]) == (found["job_id"], "rain")

    # The credit comes back with the event of its end, and until then the next call is refused at once.
    refused = await fast_server.client.post(INFER, json={"inputs": [PROMPT.to_dict() | {"parameters": None}]})
    assert (refused.status_code, set(refused.json())) == (503, {"error"})
    assert int(refused.headers["retry-after"]) >= 1
    await free_the_credit(store)


async def test_binary_tensors_both_ways(
    kserve: InferenceRESTClient, fast_server: Server, store: JobStore
) -> None:
    prompt, width = InferInput("prompt", [1], "BYTES"), InferInput("width", [1], "INT64")
    prompt.set_data_from_numpy(np.array(["a žluť circle"], dtype=np.object_))
    width.set_data_from_numpy(np.array([32], dtype=np.int64))
    whole = InferRequest("mochi-1", [prompt, width], parameters={"binary_data_output": True})
    found = await infer(kserve, fast_server, whole)
    asked = json.loads(found["job"])["request"]
    assert (asked["prompt"], asked["width"]) == ("a žluť circle", 32)
    await free_the_credit(store)
    outputs = [RequestedOutput("etag", {"binary_data": True}), RequestedOutput("bytes")]
    part = InferRequest("mochi-1", text(width="32"), request_outputs=outputs)
    assert set(await infer(kserve, fast_server, part)) == {"etag", "bytes"}


async def test_wrong_fields_are_named_in_the_protocols_form(
    kserve: InferenceRESTClient, fast_server: Server, store: JobStore
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"width: 33 .*seed: has the wrong type") as wrong:
        await infer(kserve, fast_server, InferRequest("mochi-1", text(width="33", seed="x")))
    assert wrong.value.response.status_code == 422
    unknown = InferRequest("mochi-1", [PROMPT], request_outputs=[RequestedOutput("audio")])
    with pytest.raises(httpx.HTTPStatusError, match="outputs: 'audio' is unknown"):
        await infer(kserve, fast_server, unknown)
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": "99"}
    answer = await fast_server.client.post(INFER, content=b"{}", headers=binary)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("inference-header-content-length: '99' is not allowed")
    assert (await store.list_jobs()).jobs == ()


async def test_other_models_and_versions_are_no_defects(fast_server: Server) -> None:
    await fast_server.answers(READY, 200)
    body = {"inputs": [{"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    for path, status in [("/v2/models/other/infer", 404), ("/v2/models/mochi-1/versions/2/infer", 501)]:
        answer = await fast_server.client.post(path, json=body)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})


async def test_a_call_is_refused_while_an_event_has_the_gpu(
    kserve: InferenceRESTClient, fast_server: Server, store: JobStore
) -> None:
    job = await submit(store)
    with pytest.raises(httpx.HTTPStatusError, match="every GPU slot is busy") as refused:
        await infer(kserve, fast_server, InferRequest("mochi-1", [PROMPT]))
    assert refused.value.response.status_code == 503
    assert (await fast_server.events(job)).status_code == 200, "the credit was the event's"
