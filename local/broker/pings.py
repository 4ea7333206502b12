"""PingSources: an event by the clock, posted straight to its sink."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from uuid import uuid4
from zoneinfo import ZoneInfo

import structlog
from croniter import CroniterError, croniter

from local.broker.delivery import Deliverer
from local.broker.events import WireEvent
from local.broker.routes import resolve
from local.manifests import ManifestError, Manifests, PingSource

__all__ = ["Ping", "pings_of", "run_ping"]

_TIMEOUT = 45.0  # seconds of a try; a round of the reaper takes less
_TRIES = 3
_PAUSE = 0.5  # seconds after a first failure; doubled with each

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ping:
    """A PingSource, ready to be run."""

    source: PingSource
    zone: tzinfo
    sink: str  # URL

    def seconds_to_next(self, now: datetime) -> float:
        """How long after `now` (aware) the next event is due."""
        schedule = croniter(
            self.source.schedule, now.astimezone(self.zone), ret_type=datetime, second_at_beginning=True
        )
        due: datetime = schedule.get_next()
        return (due - now).total_seconds()

    def event(self, now: datetime) -> WireEvent:
        """A new event, as Knative's PingSource makes it."""
        attributes = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": f"/apis/v1/namespaces/{self.source.namespace}/pingsources/{self.source.name}",
            "type": "dev.knative.sources.ping",
            "time": now.astimezone(ZoneInfo("UTC")).isoformat().replace("+00:00", "Z"),
        }
        if self.source.data and self.source.content_type:
            attributes["datacontenttype"] = self.source.content_type
        return WireEvent(attributes, self.source.data.encode())


def pings_of(manifests: Manifests, addresses: Mapping[str, str]) -> tuple[Ping, ...]:
    """Every PingSource with its address. Raises ManifestError."""
    return tuple(_ping(source, addresses) for source in manifests.ping_sources)


async def run_ping(ping: Ping, deliverer: Deliverer) -> None:
    """Post for ever. A time that comes while the event before is still at work is left out."""
    while True:
        await asyncio.sleep(ping.seconds_to_next(datetime.now(ping.zone)))
        event = ping.event(datetime.now(ping.zone))
        code = await _post(event, ping.sink, deliverer)
        about = {"source": ping.source.name, "id": event.attributes["id"], "code": code}
        if 200 <= code < 300:
            log.debug("pinged", **about)
        else:
            log.warning("ping_lost", **about)


async def _post(event: WireEvent, sink: str, deliverer: Deliverer) -> int:
    code = await deliverer.post(event, sink, _TIMEOUT)
    for failures in range(_TRIES - 1):
        if 200 <= code < 300:
            break
        await asyncio.sleep(_PAUSE * 2**failures)
        code = await deliverer.post(event, sink, _TIMEOUT)
    return code


def _ping(source: PingSource, addresses: Mapping[str, str]) -> Ping:
    field = f"{source.where}: spec"
    try:
        zone = ZoneInfo(source.timezone)
    except (ValueError, OSError, KeyError):
        raise ManifestError(f"{field}.timezone: {source.timezone!r} is no time zone known here") from None
    try:
        croniter(source.schedule, second_at_beginning=True)
    except (CroniterError, ValueError):
        raise ManifestError(
            f"{field}.schedule: {source.schedule!r} is no cron schedule; five fields are, or six with seconds"
        ) from None
    return Ping(source, zone, resolve(source.sink, addresses))
