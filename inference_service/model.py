"""The `kserve.Model`: a synchronous call is a job like any other, and is answered at its end.

`:predict` takes `{"instances": [{"prompt": …}]}` and answers `{"predictions": [{"video_url": …}]}`; `infer`
takes one-element tensors named like the fields of a request. The job is recorded with a credit at once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from kserve import InferOutput, InferRequest, InferResponse, Model

from eventing.payload import json_of
from inference_service.events import InternalError
from inference_service.predict import Predictor
from jobs.errors import FieldError, InvalidRequest, MochiError
from jobs.job import Job, Outcome, Status
from jobs.logs import trace_id
from jobs.request import draw_seed, parse_request, resolve
from jobs.store import NewJob

__all__ = ["JobCancelled", "JobFailed", "MochiModel"]

log = structlog.get_logger(__name__)


class JobFailed(MochiError):
    """The job ended without a video."""

    status = 500
    slug = "job-failed"
    title = "The job failed"


class JobCancelled(MochiError):
    """The job was cancelled while this call waited for it."""

    status = 409
    slug = "job-cancelled"
    title = "The job was cancelled"


class MochiModel(Model):  # type: ignore[misc]  # kserve has no types
    """Registered when the predictor's model is loaded."""

    def __init__(self, name: str, predictor: Predictor, queues: Sequence[str], presign_seconds: int) -> None:
        super().__init__(name)
        self._predictor = predictor
        self._queues = tuple(queues)
        self._presign_seconds = presign_seconds
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """The tensors of `infer`, for the metadata route; only the prompt is required."""
        kinds = {"BYTES": ("prompt", "negative_prompt", "quality", "queue")} | {
            "INT64": ("width", "height", "num_frames", "num_inference_steps", "seed"),
            "FP64": ("guidance_scale", "duration_seconds"),
        }
        return [{"name": n, "datatype": kind, "shape": [1]} for kind, names in kinds.items() for n in names]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The tensors of the answer."""
        return [
            {"name": name, "datatype": "BYTES", "shape": [1]} for name in ("video_url", "poster_url", "job")
        ]

    async def predict(
        self,
        payload: object,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,  # noqa: ARG002  # of kserve's signature
    ) -> dict[str, Any] | InferResponse:
        """Do one job and answer with its video's URL. Raises MochiError."""
        try:
            fields = _tensors(payload) if isinstance(payload, InferRequest) else _instance(payload)
            job = await self._do(fields, (headers or {}).get("traceparent", ""))
            prediction = self._prediction(job)
        except MochiError:
            raise
        except Exception:
            log.exception("predict_failed")
            raise InternalError("the predictor failed; its log says how") from None
        if isinstance(payload, InferRequest):
            return _response(payload, self.name, prediction)
        return {"predictions": [prediction]}

    async def _do(self, fields: object, traceparent: str) -> Job:
        """Submit with a credit, work, publish the end; the job as it ended."""
        self._predictor.check_free()  # the pool may have a credit although the GPU of this process is taken
        tools = self._predictor.tools
        profile = tools.pipeline.profile
        request = parse_request(fields, profile, self._queues)
        spec = resolve(request, profile, self._queues, seed=draw_seed())
        seconds = profile.estimate_seconds(spec.width, spec.height, spec.num_frames, spec.num_inference_steps)
        known_trace = traceparent if trace_id(traceparent) else ""
        submission = await tools.store.submit_now(
            NewJob(uuid.uuid4().hex, spec, seconds, traceparent=known_trace)
        )
        job = submission.job
        try:
            reply = await self._predictor.handle(job.id, job.delivery)
        except MochiError:
            await self._abandon(job.id)
            raise
        if reply is not None:
            # It goes the way of every job's: as an event, and at its completion the credit comes back.
            await self._predictor.publish(reply)
        if reply is not None and reply.outcome is not None:
            return _ended(await tools.store.get(job.id), reply.outcome)
        # Another predictor goes on with it: this one shuts down, or lost the job's lease.
        async for _ in tools.store.follow(job.id):
            pass
        return await tools.store.get(job.id)

    async def _abandon(self, job_id: str) -> None:
        """Nobody waits for this job any more: its call is answered with an error."""
        try:
            await self._predictor.cancel(job_id)
        except MochiError as error:
            log.warning("not_cancelled", job=job_id, reason=str(error))

    def _prediction(self, job: Job) -> dict[str, Any]:
        if job.status is Status.CANCELLED:
            raise JobCancelled(f"job {job.id} was cancelled")
        if job.artifact is None:
            error = job.error
            reason = f"{error.code}: {error.message}" if error else "no reason is recorded"
            raise JobFailed(f"job {job.id} failed: {reason}")
        presign = self._predictor.tools.storage.presign
        return {
            "video_url": presign(job.artifact.key, self._presign_seconds),
            "poster_url": presign(job.artifact.poster_key, self._presign_seconds),
            "job": job.public(),
        }


def _ended(job: Job, outcome: Outcome) -> Job:
    """The job with the outcome that is recorded for it, whether or not its event has arrived yet."""
    if job.status.terminal:
        return job
    return replace(
        job,
        status=Status(outcome.kind),
        phase=None,
        artifact=outcome.artifact,
        error=outcome.error,
        finished_us=job.updated_us,
    )


def _instance(payload: object) -> object:
    """The one request of a v1 call."""
    if isinstance(payload, bytes):  # KServe decodes JSON only where the content type says so; curl's does not
        try:
            payload = json_of(payload)
        except ValueError as error:
            raise InvalidRequest([FieldError("body", str(error), "a JSON object in UTF-8")]) from None
    if isinstance(payload, Mapping) and "specversion" in payload:
        payload = payload.get("data")  # KServe leaves an event as it is where it lacks an optional `time`
    instances = payload.get("instances") if isinstance(payload, Mapping) else None
    if not isinstance(instances, list) or len(instances) != 1:
        problem = f"has {len(instances)} elements" if isinstance(instances, list) else "is missing or no list"
        rule = 'exactly one request: {"instances": [{"prompt": "…"}]}'
        raise InvalidRequest([FieldError("instances", problem, rule)])
    return instances[0]


def _tensors(request: InferRequest) -> dict[str, Any]:
    """The fields of a v2 call: one-element tensors."""
    fields: dict[str, Any] = {}
    for tensor in request.inputs:
        values = tensor.data if isinstance(tensor.data, list) else []
        if len(values) != 1:
            rule = "one element, its shape [1]"
            raise InvalidRequest([FieldError(tensor.name, "is no list of one element", rule)])
        fields[tensor.name] = values[0]
    return fields


def _response(request: InferRequest, model: str, prediction: Mapping[str, Any]) -> InferResponse:
    texts = {**prediction, "job": json.dumps(prediction["job"])}
    outputs = [InferOutput(name, [1], "BYTES", [text]) for name, text in texts.items()]
    return InferResponse(request.id or str(uuid.uuid4()), model, outputs)
