"""The wiring of the predictor's process: it alone builds clients, and it starts and ends everything.

The HTTP server is up at once; the model is loaded in a thread, then registered, and only then is it
ready. On SIGTERM the listener closes, and the job at work stops at its next step, with a checkpoint, so
that another goes on with it; what has no steps may end within the grace period.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import structlog
from fastapi import FastAPI
from kserve import ModelServer
from kserve.model_server import app

from eventing.publisher import HttpPublisher
from inference_service.events import add_events_route
from inference_service.job_files import JobFiles
from inference_service.kserve_routes import add_kserve_rules
from inference_service.lease_keeper import PHASE_LIMITS, LeaseKeeper
from inference_service.loading import load_pipeline
from inference_service.model import MochiModel
from inference_service.pace import check_budget
from inference_service.pauses import growing_pauses
from inference_service.pipeline import DeviceLost, VideoPipeline
from inference_service.predict import Predictor
from inference_service.scratch import Scratch
from inference_service.tools import Tools
from inference_service.v2_requests import NamingDataPlane
from jobs.errors import ConfigurationError, MochiError, StorageUnavailable, StoreUnavailable
from jobs.job import Phase
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import JobStore, Lease

__all__ = ["PredictorServer"]

T = TypeVar("T")

#: Seconds to wait at the end for the work to stop: a denoising step at full size. A phase without steps
#: may take longer; the process ends without it.
_STOP_SECONDS = 5

log = structlog.get_logger(__name__)


class PredictorServer(ModelServer):  # type: ignore[misc]  # kserve has no types
    """KServe's REST server with our model, our `/events` and our end."""

    def __init__(self, settings: Settings, phase_limits: Mapping[Phase, float] = PHASE_LIMITS) -> None:
        """`phase_limits`: seconds without progress after which a phase counts as stuck."""
        super().__init__(
            http_port=settings.port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            # KServe's own end, which cancels what is in flight, comes after ours.
            grace_period=settings.grace_seconds + _STOP_SECONDS + 1,
        )
        self.dataplane = NamingDataPlane(model_registry=self.registered_models)
        self._settings, self._phase_limits = settings, phase_limits
        self._store = JobStore.connect(settings)
        self._storage = S3VideoStorage(settings)
        self._publisher = HttpPublisher(settings.k_sink) if settings.k_sink else None
        self._predictor: Predictor | None = None
        self._model: MochiModel | None = None
        self._scratch: Scratch | None = None
        self._ending: asyncio.Task[bool] | None = None
        #: Why the start failed, or the GPU was lost; None: neither.
        self.failure: MochiError | None = None
        #: Whether a thread is still at work although the server has ended.
        self.stuck = False
        add_events_route(app, lambda: self._predictor)
        add_kserve_rules(app)
        app.router.lifespan_context = self._lifespan

    async def _serve(self) -> None:
        # KServe listens on 0.0.0.0 by code; its configuration is read only when it serves.
        self._rest_server.config.host = self._settings.host
        # A client that offers HTTP/2 loses its body in httptools; h11 is as fast as a GPU needs.
        self._rest_server.config.http = "h11"
        await super()._serve()

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        _before_signal(lambda: loop.call_soon_threadsafe(self._end))
        loading = asyncio.create_task(self._load())
        loading.add_done_callback(self._loaded)
        yield
        if not loading.done():
            loading.cancel()
            self.stuck = True  # in from_pretrained, which cannot be interrupted
        if self._ending is not None and not await self._ending:
            log.error("work_abandoned", reason="it came to no step at which it could stop")
            self.stuck = True
        if self._scratch is not None:
            self._scratch.close()
        if self._publisher is not None:
            await self._publisher.aclose()
        await self._store.close()

    async def _load(self) -> None:
        settings = self._settings
        started = time.monotonic()
        # What is set wrongly is said before minutes are spent on loading.
        await _patiently("storage", lambda: asyncio.to_thread(self._storage.check))
        await _patiently("store", self._store.ping)
        self._scratch = await asyncio.to_thread(_open_scratch, settings.scratch_dir)
        pipeline: VideoPipeline = await _in_thread("load", lambda: load_pipeline(settings))
        check_budget(settings.slice_seconds, pipeline.profile)
        await _patiently("store", lambda: self._store.save_profile(pipeline.profile))
        self._predictor = Predictor(self._tools(pipeline, self._scratch), self._fail)
        await self._predictor.sweep()
        self._model = MochiModel(
            settings.pool, self._predictor, tuple(settings.queues), settings.presign_seconds
        )
        self.register_model(self._model)
        seconds = round(time.monotonic() - started, 2)
        log.info(
            "ready", model=pipeline.profile.name, pool=settings.pool, port=settings.port, seconds=seconds
        )

    def _tools(self, pipeline: VideoPipeline, scratch: Scratch) -> Tools:
        settings, loop = self._settings, asyncio.get_running_loop()

        def stuck(reason: str) -> None:
            # Work that hangs holds this process' GPU for ever: only a new process takes jobs again.
            loop.call_soon_threadsafe(self._fail, DeviceLost(reason))

        def keep(lease: Lease, claimed_at: float) -> LeaseKeeper:
            limits = self._phase_limits
            return LeaseKeeper(lease, lambda: JobStore.connect(settings), claimed_at, limits, stuck=stuck)

        return Tools(
            store=self._store,
            storage=self._storage,
            pipeline=pipeline,
            publisher=self._publisher,
            keep=keep,
            files=JobFiles(settings.scratch_dir / "jobs"),
            scratch_dir=scratch.folder,
            slot=f"{socket.gethostname()}:{os.getpid()}",
            slice_seconds=settings.slice_seconds,
            checkpoint_seconds=settings.checkpoint_seconds,
        )

    def _loaded(self, loading: asyncio.Task[None]) -> None:
        if loading.cancelled() or (error := loading.exception()) is None:
            return
        if not isinstance(error, MochiError):
            log.error("start_failed", exc_info=error)
            error = MochiError(f"the model could not be loaded: {type(error).__name__}")
        self._fail(error)

    def _fail(self, error: MochiError) -> None:
        """End the process; the first reason counts."""
        if self.failure is not None:
            return
        self.failure = error
        if isinstance(error, DeviceLost):
            self.stuck = True  # the end of the interpreter would touch the GPU, which may never answer
        signal.raise_signal(signal.SIGTERM)  # the one way in which this server ends

    def _end(self) -> None:
        """On SIGTERM: not ready, no new job, and the work at hand stops at its next step."""
        if self._model is not None:
            self._model.ready = False
        if self._predictor is not None and self._ending is None:
            self._ending = asyncio.create_task(
                self._predictor.end(self._settings.grace_seconds, _STOP_SECONDS)
            )


def _before_signal(call: Callable[[], object]) -> None:
    """Call `call` at SIGTERM and SIGINT, before what is installed for them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        installed = signal.getsignal(number)

        def handler(signum: int, frame: FrameType | None, then: signal._HANDLER = installed) -> None:
            call()
            if callable(then):
                then(signum, frame)

        signal.signal(number, handler)


async def _patiently(what: str, call: Callable[[], Awaitable[None]]) -> None:
    """Try again while Redis or S3 is away: they may start after us."""
    async for _ in growing_pauses():
        try:
            await call()
            return
        except (StoreUnavailable, StorageUnavailable) as error:
            log.warning("waiting", on=what, reason=str(error))


async def _in_thread(name: str, call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, in a daemon thread: it does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # None only beside an error

    def run() -> None:
        try:
            value, error = call(), None
        except Exception as raised:  # noqa: BLE001  # handed over
            loop.call_soon_threadsafe(settle, None, raised)
        else:
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result


def _open_scratch(root: Path) -> Scratch:
    try:
        return Scratch(root)
    except OSError as error:
        raise ConfigurationError(f"SCRATCH_DIR={root}: cannot be written: {error.strerror}") from None
