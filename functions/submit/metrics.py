"""The metrics of submit, in a registry of their own."""

from __future__ import annotations

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.store import PoolStats

__all__ = ["CONTENT_TYPE", "Measuring", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: Seconds, from a read of Redis to a call that waits for the object store.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All of them. Making two does no harm: no process-wide registry knows them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.submitted = Counter(
            "mochi_jobs_submitted", "Jobs recorded.", ["queue", "door"], registry=self.registry
        )
        self.latency = Histogram(
            "mochi_http_response_start_seconds",
            "Seconds from a request to the first byte of its answer.",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._backlog = Gauge(
            "mochi_backlog_jobs", "Jobs waiting in a queue's backlog.", ["queue"], registry=self.registry
        )
        self._credits = Gauge(
            "mochi_pool_credits", "Credits of the pool in use.", ["pool"], registry=self.registry
        )
        self._limit = Gauge(
            "mochi_pool_credit_limit", "Credits that the pool has.", ["pool"], registry=self.registry
        )
        self._paused = Gauge(
            "mochi_pool_paused_seconds", "Until the pool admits again.", ["pool"], registry=self.registry
        )
        self._store_up = Gauge(
            "mochi_store_up", "1 if the job store answered this scrape.", registry=self.registry
        )

    def render(self, pool: str, stats: PoolStats | None) -> bytes:
        """The exposition, with the pool as it is now; None: the job store did not answer."""
        self._store_up.set(stats is not None)
        for gauge in (self._backlog, self._credits, self._limit, self._paused):
            gauge.clear()  # what is not known now is not shown
        if stats is not None:
            for queue, jobs in stats.backlog.items():
                self._backlog.labels(queue).set(jobs)
            self._credits.labels(pool).set(stats.credits)
            self._limit.labels(pool).set(stats.limit)
            self._paused.labels(pool).set(stats.paused_seconds)
        return generate_latest(self.registry)


class Measuring:
    """Observes how long each answer took to begin: that of an event stream ends with its job."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        since = time.perf_counter()

        async def observing(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The route's template, not the path: one label a route, not one a job.
                route = getattr(scope.get("route"), "path", "")
                labels = self._metrics.latency.labels(scope["method"], route, message["status"])
                labels.observe(time.perf_counter() - since)
            await send(message)

        await self._app(scope, receive, observing)
