"""What both doors of submit (`POST /jobs` and `POST /`) do with a decoded request."""

from __future__ import annotations

import structlog

from eventing.dispatch import dispatch
from functions.submit.metrics import Metrics
from functions.submit.profiles import Profiles
from functions.wiring import Wiring
from jobs.errors import InvalidRequest
from jobs.job_ids import new_job_id
from jobs.logs import trace_id
from jobs.request import draw_seed, parse_request, resolve
from jobs.store import Idempotency, NewJob, Submission

__all__ = ["SOURCE", "Submitter"]

SOURCE = "/mochi/submit"  # of the CloudEvents that this function makes

log = structlog.get_logger(__name__)


class Submitter:
    """Validates a request and records its job."""

    def __init__(self, wiring: Wiring, metrics: Metrics) -> None:
        self._wiring = wiring
        self._metrics = metrics
        self._queues = tuple(wiring.settings.queues)
        self._profiles = Profiles(lambda: wiring.store.load_profile(), wiring.settings.model_name)

    async def submit(
        self, data: object, key: str | None, traceparent: str, *, door: str, same_request: bool = True
    ) -> Submission:
        """Record a job, or find the one that was recorded under `key`, and publish what that admits.

        `door` is http or event. With `same_request`, the request must be the one of that job; without, it is
        not even looked at where there is one.
        Raises InvalidRequest, IdempotencyConflict, BacklogFull, ProfileUnknown, StoreUnavailable.
        """
        profile = await self._profiles.current()
        try:
            request = parse_request(data, profile, self._queues)
        except InvalidRequest:
            # What was taken once is the same job whatever is sent now, were it nonsense.
            if key is None or same_request or (job := await self._wiring.store.find(f"{door}:{key}")) is None:
                raise
            return Submission(job, created=False)
        spec = resolve(request, profile, self._queues, seed=draw_seed())
        fingerprint = request.fingerprint() if key is not None and same_request else None
        new = NewJob(
            id=new_job_id(),
            spec=spec,
            estimate_seconds=profile.estimate_seconds(
                spec.width, spec.height, spec.num_frames, spec.num_inference_steps
            ),
            idempotency=Idempotency(f"{door}:{key}", fingerprint) if key is not None else None,
            traceparent=traceparent,
        )
        submission = await self._wiring.store.submit(new)
        job = submission.job
        if submission.created:
            self._metrics.submitted.labels(job.queue, door).inc()
        log.info(
            "submitted" if submission.created else "submitted_before",
            job=job.id,
            queue=job.queue,
            attempt=job.attempt,
            door=door,
            trace=trace_id(job.traceparent),
        )
        # Before the answer: a pod without a request may be stopped at any time, and an admitted job whose
        # event is not sent stands still until the reaper's next round. The Broker takes an event in some
        # 5 ms, only a submission that finds a free credit waits for that, and the publisher gives up soon.
        await dispatch(self._wiring.store, self._wiring.publisher, SOURCE, submission.deliveries)
        return submission
