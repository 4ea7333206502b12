"""The check of the books, a bounded share of it a minute. Knows no rule of theirs: the store does."""

from __future__ import annotations

import structlog

from jobs.job import Delivery
from jobs.store import JobStore

__all__ = ["check_books"]

#: Entries that Redis looks at in one go (some 3 ms), and goes a minute: a million jobs are seen in hours.
_BATCH, _BATCHES = 200, 50

log = structlog.get_logger(__name__)


async def check_books(store: JobStore) -> tuple[Delivery, ...]:
    """Mend what is wrong; the events that this causes. Raises StoreUnavailable.

    In a system at work there is nothing to mend: each mended job is an error to look into.
    """
    deliveries: list[Delivery] = []
    for _ in range(_BATCHES):
        audit = await store.audit(_BATCH)
        for mended in audit.mended:
            log.error("books_mended", job=mended.job_id, what=mended.what)
        deliveries += audit.deliveries
        if audit.whole:
            break
    return tuple(deliveries)
