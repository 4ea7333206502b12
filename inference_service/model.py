"""The `kserve.Model`: a synchronous call is a job like any other, and is answered at its end.

`:predict` takes `{"instances": [{"prompt": …}]}` and answers `{"predictions": [{"video_url": …}]}`; `infer`
takes one-element tensors named like the fields of a request. The job is recorded with a credit at once, and
its call never waits for a GPU: neither for this process' nor, when its slice is over, for another one's. It
would hold the pod's one slot while an event that has a credit waits for it outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from kserve import InferRequest, InferResponse, Model

from eventing.payload import json_of
from inference_service.errors import GpuLost, InternalError, JobCancelled, JobFailed, JobGoesOn
from inference_service.predict import Predictor
from inference_service.tensors import INPUTS, OUTPUTS, check_outputs, fields_of, response_of
from jobs.errors import FieldError, InvalidRequest, MochiError
from jobs.job import Artifact, Job, Outcome, Status
from jobs.job_ids import new_job_id
from jobs.logs import trace_id
from jobs.request import draw_seed, parse_request, resolve
from jobs.store import NewJob

__all__ = ["MochiModel"]

log = structlog.get_logger(__name__)


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
        return [{"name": name, "datatype": datatype, "shape": [1]} for name, datatype in INPUTS.items()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The tensors of the answer."""
        return [{"name": name, "datatype": datatype, "shape": [1]} for name, datatype in OUTPUTS.items()]

    async def predict(
        self,
        payload: object,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,  # noqa: ARG002  # of kserve's signature
    ) -> dict[str, Any] | InferResponse:
        """Do one job and answer with its video's URL. Raises MochiError."""
        try:
            if isinstance(payload, InferRequest):
                check_outputs(payload)
                job, artifact = await self._video(fields_of(payload), headers)
                return response_of(payload, self.name, job, artifact, self._prediction(job, artifact))
            job, artifact = await self._video(_instance(payload), headers)
            return {"predictions": [self._prediction(job, artifact)]}
        except MochiError:
            raise
        except Exception:
            log.exception("predict_failed")
            raise InternalError("the predictor failed; its log says how") from None

    async def _video(self, fields: object, headers: Mapping[str, str] | None) -> tuple[Job, Artifact]:
        """Do one job; its record and its video. Raises JobFailed and JobCancelled where it has none."""
        job = await self._do(fields, (headers or {}).get("traceparent", ""))
        if job.status is Status.CANCELLED:
            raise JobCancelled(f"job {job.id} was cancelled")
        if job.artifact is None:
            error = job.error
            reason = f"{error.code}: {error.message}" if error else "no reason is recorded"
            raise JobFailed(f"job {job.id} failed: {reason}")
        return job, job.artifact

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
            NewJob(new_job_id(), spec, seconds, traceparent=known_trace)
        )
        job = submission.job
        try:
            self._predictor.check_free()  # an event may have come meanwhile; from here on it would wait
            reply = await self._predictor.handle(job.id, job.delivery)
        except MochiError:
            await self._abandon(job.id)
            raise
        if reply is not None:
            # It goes the way of every job's: as an event, and at its completion the credit comes back.
            await self._predictor.publish(reply)
        now = await tools.store.get(job.id)
        outcome = reply.outcome if reply is not None else None
        if outcome is None and not now.status.terminal:
            error = GpuLost if self._predictor.device_lost else JobGoesOn
            raise error(f"job {job.id} is not done, and goes on without this call: GET /jobs/{job.id}")
        return _ended(now, outcome)

    async def _abandon(self, job_id: str) -> None:
        """Nobody waits for this job any more: its call is answered with an error."""
        try:
            await self._predictor.cancel(job_id)
        except MochiError as error:
            log.warning("not_cancelled", job=job_id, reason=str(error))

    def _prediction(self, job: Job, artifact: Artifact) -> dict[str, Any]:
        presign = self._predictor.tools.storage.presign
        return {
            "video_url": presign(artifact.key, self._presign_seconds),
            "poster_url": presign(artifact.poster_key, self._presign_seconds),
            "job": job.public(),
        }


def _ended(job: Job, outcome: Outcome | None) -> Job:
    """The job with the outcome that is recorded for it, whether or not its event has arrived yet."""
    if job.status.terminal or outcome is None:
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
