"""The FastAPI app of submit: which route has which handler. No behaviour of its own."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from functions import problems
from functions.health import Health
from functions.submit.event_route import EventRoute
from functions.submit.jobs_routes import JobsRoutes
from functions.submit.metrics import CONTENT_TYPE, Measuring, Metrics
from functions.submit.openapi import OPERATIONS
from functions.submit.openapi_parts import schemas
from functions.submit.results import Results
from functions.submit.sse import EventStreams
from functions.submit.submitter import Submitter
from functions.wiring import Wiring
from jobs.errors import StoreUnavailable

__all__ = ["create_app"]

#: HEAD of a stream would stay open without a byte; that of the video is a route of its own.
_NO_HEAD = ("followJob", "getResult")

log = structlog.get_logger(__name__)


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's document, and the schemas that handlers, not signatures, answer with."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"] = {"schemas": schemas()}
            self.openapi_schema = document
        return self.openapi_schema


def create_app(wiring: Wiring) -> FastAPI:
    """The app. Nothing is connected to before the first request."""
    metrics = Metrics()
    submitter = Submitter(wiring, metrics)
    jobs = JobsRoutes(wiring, submitter)
    results = Results(wiring)
    health = Health(wiring, warns=True)
    app = _Api(
        title="Mochi Functions",
        version="1",
        description="Text-to-video jobs. Errors are problem documents (RFC 9457).",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
    )
    for method, path, operation, handler in (
        ("POST", "/jobs", "submitJob", jobs.submit),
        ("GET", "/jobs", "listJobs", jobs.list),
        ("GET", "/jobs/{job_id}", "getJob", jobs.get),
        ("POST", "/jobs/{job_id}/cancel", "cancelJob", jobs.cancel),
        ("GET", "/jobs/{job_id}/events", "followJob", EventStreams(wiring).follow),
        ("GET", "/jobs/{job_id}/result", "getResult", results.result),
        ("HEAD", "/jobs/{job_id}/result", "headResult", results.head),
        ("GET", "/download/{job_id}", "getDownload", results.download),
        ("POST", "/", "submitEvent", EventRoute(submitter).submit),
        ("GET", "/", "getRoot", _root),
        ("GET", "/healthz", "getHealth", health.ready),
        ("GET", "/livez", "getLive", health.live),
        ("GET", "/metrics", "getMetrics", _Scrape(wiring, metrics).scrape),
    ):
        app.add_api_route(
            path,
            handler,
            methods=[method],
            operation_id=operation,
            response_class=Response,
            **OPERATIONS[operation],
        )
        if method == "GET" and operation not in _NO_HEAD:
            # The server leaves the body out; the document needs no word on what HTTP itself says.
            app.add_route(path, handler, methods=["HEAD"], include_in_schema=False)
    problems.install(app)
    app.add_middleware(Measuring, metrics=metrics)
    return app


async def _root(_request: Request) -> Response:
    return RedirectResponse("/openapi.json", 307)


class _Scrape:
    def __init__(self, wiring: Wiring, metrics: Metrics) -> None:
        self._wiring = wiring
        self._metrics = metrics

    async def scrape(self, _request: Request) -> Response:
        try:
            stats = await self._wiring.store.stats()
        except StoreUnavailable as error:
            log.warning("metrics_without_store", reason=str(error))
            stats = None
        body = self._metrics.render(self._wiring.settings.pool, stats)
        return Response(body, media_type=CONTENT_TYPE)
