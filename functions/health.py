"""Health routes of every function: `/livez` (the process answers) and `/healthz` (Redis does too)."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions.wiring import Wiring

__all__ = ["Health"]

log = structlog.get_logger(__name__)


class Health:
    """The handlers."""

    def __init__(self, wiring: Wiring, warns: bool = False) -> None:
        """`warns`: also of a Redis that may lose jobs, in the log once, and in every answer."""
        self._wiring = wiring
        self._warnings: tuple[str, ...] | None = None if warns else ()

    async def live(self, _request: Request) -> Response:
        """200 as long as the process serves."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 if the job store takes writes. Raises StoreUnavailable."""
        await self._wiring.store.ping()
        if self._warnings is None:
            # Asked for at the start: whoever starts a process wants to know when it is ready.
            self._warnings = await self._wiring.store.dangers()
            for warning in self._warnings:
                log.warning("jobs_may_be_lost", reason=warning)
        return JSONResponse({"status": "ok"} | ({"warnings": self._warnings} if self._warnings else {}))
