"""Health routes of every function: `/livez` (the process answers) and `/healthz` (Redis does too)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions.wiring import Wiring

__all__ = ["Health"]


class Health:
    """The handlers."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def live(self, _request: Request) -> Response:
        """200 as long as the process serves."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 if the job store takes writes. Raises StoreUnavailable."""
        await self._wiring.store.ping()
        return JSONResponse({"status": "ok"})
