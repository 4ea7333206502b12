"""The broker process: reads the manifests, builds everything once, serves until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from redis.exceptions import RedisError

from functions.plain_http import PlainHttp
from functions.serve import SleepingServer
from jobs.errors import ConfigurationError
from jobs.logs import configure_logs
from local.api_address import ApiAddress
from local.broker.delivery import Deliverer
from local.broker.dispatcher import Dispatcher
from local.broker.ingress import create_app
from local.broker.pings import Ping, pings_of, run_ping
from local.broker.routes import Routes, routes_of
from local.broker.settings import BrokerSettings
from local.broker.streams import EventLog
from local.manifests import load

__all__ = ["main"]

_DRAIN = 1  # seconds that requests in flight may still take once the process is told to stop

log = structlog.get_logger(__name__)


def main(environ: Mapping[str, str]) -> int:
    """Run the broker; the exit code. A wrong setting or manifest is one line on standard error, and 1."""
    try:
        settings = BrokerSettings.from_environ(environ)
        manifests = load(settings.manifests)
        routes = routes_of(manifests, settings.addresses)
        pings = pings_of(manifests, settings.addresses)
        listener = _listen(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"broker: {error}\n")
        return 1
    configure_logs("broker", settings.log_format, settings.log_level)
    asyncio.run(_serve(settings, routes, pings, listener))
    return 0


def _listen(settings: BrokerSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigurationError(f"PORT: cannot listen on {where}: {error.strerror}") from None


async def _serve(
    settings: BrokerSettings, routes: Routes, pings: tuple[Ping, ...], listener: socket.socket
) -> None:
    events = EventLog(settings.redis_url)
    deliverer = Deliverer(ApiAddress(settings.host, settings.port).url)
    server = _server(routes, events)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.tell_to_stop)
    work: list[Coroutine[Any, Any, None]] = [
        _forget_removed(events, routes),
        *(Dispatcher(route, routes, events, deliverer).run() for route in routes.all),
        *(run_ping(ping, deliverer) for ping in pings),
    ]
    log.info("started", host=settings.host, port=settings.port, triggers=len(routes.all), pings=len(pings))
    try:
        # A dispatcher that ends is a defect: it ends the process, and whoever started that sees it.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            await server.serve(sockets=[listener])
            for task in tasks:
                task.cancel()
    finally:
        await deliverer.aclose()
        await events.aclose()
        log.info("stopped")


async def _forget_removed(events: EventLog, routes: Routes) -> None:
    """Once Redis is there, drop what Triggers that are no more were owed."""
    while True:
        try:
            gone = await events.remove_others(routes.all)
        except (RedisError, OSError):
            await asyncio.sleep(1)
            continue
        if gone:
            log.info("triggers_removed", streams=gone)
        return


class _Server(SleepingServer):
    """Leaves signals to the process: uvicorn raises one again once it has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(routes: Routes, events: EventLog) -> _Server:
    return _Server(
        uvicorn.Config(
            create_app(routes, events),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            http=PlainHttp,
            ws="none",  # nothing here speaks it
            timeout_graceful_shutdown=_DRAIN,
        )
    )
