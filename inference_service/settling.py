"""What came of a lease's work is recorded, or its job is given back; the event to reply says which.

Tried again while Redis is away, for the lease may still be ours then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from inference_service.errors import ShuttingDown
from inference_service.lease_keeper import LeaseKeeping
from inference_service.pauses import growing_pauses
from inference_service.pipeline import DeviceLost, StopReason
from inference_service.tools import Tools
from jobs.errors import StoreUnavailable
from jobs.job import Delivery, Outcome
from jobs.store import Lease

__all__ = ["settle"]

#: Seconds for which it is tried again while Redis is away. Its restart takes seconds and extends every lease
#: once, so the work still counts; a failover takes minutes. After that another goes on from what was kept,
#: and this GPU is free. It is not the patience of an upload (uploading.py), after which the job fails.
_PATIENCE = 600.0

log = structlog.get_logger(__name__)


async def settle(
    tools: Tools, lease: Lease, keeper: LeaseKeeping, outcome: Outcome | StopReason, lost: DeviceLost | None
) -> Delivery | None:
    """The event to reply: of the recorded outcome, or the one by which another delivery goes on.

    None: the lease is lost, or may be. `lost`: what broke the GPU, where that ended the work. Raises
    ShuttingDown where Redis is away and this process has no time to wait for it.
    """
    store = tools.store
    if outcome is StopReason.LOST:
        return None
    if isinstance(outcome, StopReason):
        # Given back at once, and a strike unless a checkpoint was kept: a job may be what breaks GPUs.
        reason = f"lost the GPU of {tools.slot}: {lost}" if lost else ""
        return await _patiently(lambda: store.yield_(lease, reason), keeper, tools.clock)
    return await _patiently(lambda: store.record(lease, outcome), keeper, tools.clock)


async def _patiently(
    call: Callable[[], Awaitable[Delivery | None]], keeper: LeaseKeeping, clock: Callable[[], float]
) -> Delivery | None:
    give_up_at = clock() + _PATIENCE
    async for _ in growing_pauses(longest=2.0):
        try:
            return await call()
        except StoreUnavailable as error:
            log.warning("record_retried", reason=str(error))
            if keeper.reason is StopReason.SHUTDOWN:
                message = "this predictor is shutting down; the job goes on when its lease has run out"
                raise ShuttingDown(message) from None
            if keeper.reason is StopReason.LOST or clock() > give_up_at:
                return None
    raise AssertionError("the pauses never end")
