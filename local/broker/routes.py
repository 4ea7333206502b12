"""Triggers with their addresses: what the manifests say, and where the resources that they name listen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from jobs.errors import ConfigurationError
from local.broker.filters import Filter
from local.manifests import Delivery, Destination, ManifestError, Manifests, Trigger

__all__ = ["Policy", "Route", "Routes", "parse_addresses", "resolve", "routes_of"]


@dataclass(frozen=True)
class Policy:
    """How hard a delivery is tried, and where what failed goes."""

    retry: int
    exponential: bool
    backoff_delay: float  # seconds
    timeout: float | None  # seconds, of each try
    dead_letters: str | None  # URL

    def backoff(self, failures: int) -> float:
        """Seconds between the failure number `failures` (from 1) and the next try.

        As Knative's dispatcher counts: exponential starts at the delay, linear at nothing.
        """
        factor = 2.0 ** (failures - 1) if self.exponential else failures - 1
        return self.backoff_delay * factor


@dataclass(frozen=True)
class Route:
    """A Trigger, ready to be served."""

    broker: str  # namespace/name
    trigger: str  # namespace/name
    filter: Filter
    subscriber: str  # URL
    policy: Policy


@dataclass(frozen=True)
class Routes:
    """All Triggers of all Brokers."""

    by_broker: Mapping[str, tuple[Route, ...]]

    @property
    def all(self) -> tuple[Route, ...]:
        """Every route."""
        return tuple(route for routes in self.by_broker.values() for route in routes)

    def wanting(self, broker: str, attributes: Mapping[str, str]) -> tuple[Route, ...]:
        """The routes of a Broker whose filters match."""
        return tuple(route for route in self.by_broker[broker] if route.filter.matches(attributes))


def parse_addresses(text: str) -> Mapping[str, str]:
    """`Service/submit=http://…,Kind/name=URL` as a mapping. Raises ConfigurationError."""
    addresses: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        ref, _, url = part.partition("=")
        if ref.count("/") != 1 or not all(ref.split("/")) or urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(f"MOCHI_ADDRESSES: {part!r} is not Kind/name=http://host:port")
        addresses[ref] = url
    return addresses


def routes_of(manifests: Manifests, addresses: Mapping[str, str]) -> Routes:
    """Every Trigger with its addresses. Raises ManifestError where a ref has none."""
    routes: dict[str, list[Route]] = {f"{b.namespace}/{b.name}": [] for b in manifests.brokers}
    for trigger in manifests.triggers:
        route = _route(trigger, addresses)
        routes[route.broker].append(route)
    return Routes({broker: tuple(found) for broker, found in routes.items()})


def resolve(destination: Destination, addresses: Mapping[str, str]) -> str:
    """The URL of a destination. Raises ManifestError where its ref has no address."""
    if destination.ref is None:
        return destination.uri or ""
    address = addresses.get(destination.ref)
    if address is None:
        raise ManifestError(
            f"{destination.where}.ref: {destination.ref} has no address; MOCHI_ADDRESSES gives it one "
            f"({destination.ref}=http://host:port)"
        )
    return urljoin(address, destination.uri) if destination.uri else address


def _route(trigger: Trigger, addresses: Mapping[str, str]) -> Route:
    return Route(
        f"{trigger.namespace}/{trigger.broker}",
        f"{trigger.namespace}/{trigger.name}",
        trigger.filter,
        resolve(trigger.subscriber, addresses),
        _policy(trigger.delivery, addresses),
    )


def _policy(delivery: Delivery, addresses: Mapping[str, str]) -> Policy:
    sink = delivery.dead_letter_sink
    return Policy(
        delivery.retry,
        delivery.exponential,
        delivery.backoff_delay,
        delivery.timeout,
        resolve(sink, addresses) if sink else None,
    )
