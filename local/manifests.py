"""Reads the Broker, Trigger and PingSource manifests that a cluster applies, into frozen values.

Everything that is not understood is refused, with the file, the resource and the field: a manifest that
a cluster obeys and this reading ignored would be two behaviours. Knows no addresses and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local.broker.durations import parse_duration
from local.broker.filters import AllOf, Filter, parse_attributes, parse_filters
from local.manifest_files import ManifestError, Resource, checked, fields, resources

__all__ = ["Broker", "Delivery", "Destination", "ManifestError", "Manifests", "PingSource", "Trigger", "load"]

_MAX_RETRY = 1000


@dataclass(frozen=True)
class Destination:
    """Where events go: a resource (`Kind/name`), a path or URL, or both."""

    where: str  # file, resource and field, for errors
    ref: str | None
    uri: str | None


@dataclass(frozen=True)
class Delivery:
    """How hard a delivery is tried."""

    retry: int = 0  # after the first try
    exponential: bool = True  # the backoff policy; else linear
    backoff_delay: float = 0.0  # seconds
    timeout: float | None = None  # seconds, of each try
    dead_letter_sink: Destination | None = None


@dataclass(frozen=True)
class Broker:
    """A place that events are posted to."""

    where: str
    namespace: str
    name: str
    delivery: Delivery  # of Triggers without one


@dataclass(frozen=True)
class Trigger:
    """A subscription: which events of a Broker go where."""

    where: str
    namespace: str
    name: str
    broker: str
    filter: Filter
    subscriber: Destination
    #: Its own, or the Broker's; of its own only the dead letter sink is the Broker's where it has none.
    delivery: Delivery


@dataclass(frozen=True)
class PingSource:
    """An event that is sent by the clock."""

    where: str
    namespace: str
    name: str
    schedule: str  # cron, with five fields or (seconds first) six
    timezone: str
    content_type: str
    data: str
    sink: Destination


@dataclass(frozen=True)
class Manifests:
    """What was found."""

    brokers: tuple[Broker, ...]
    triggers: tuple[Trigger, ...]
    ping_sources: tuple[PingSource, ...]


def load(folder: Path) -> Manifests:
    """The resources of all YAML files below `folder`, overlays and components aside.

    Raises ManifestError.
    """
    found = resources(folder)
    brokers = [_broker(r) for r in found if r.kind == "Broker"]
    if not brokers:
        raise ManifestError(f"{folder}: no Broker manifest is in this folder")
    deliveries = {(b.namespace, b.name): b.delivery for b in brokers}
    triggers = [_trigger(r, deliveries) for r in found if r.kind == "Trigger"]
    pings = [_ping_source(r) for r in found if r.kind == "PingSource"]
    return Manifests(tuple(brokers), tuple(triggers), tuple(pings))


def _broker(resource: Resource) -> Broker:
    spec = fields(resource.spec, f"{resource.where}: spec", "config", "delivery")
    delivery = _delivery(spec["delivery"], resource) if "delivery" in spec else Delivery()
    return Broker(resource.where, resource.namespace, resource.name, delivery)


def _trigger(resource: Resource, deliveries: Mapping[tuple[str, str], Delivery]) -> Trigger:
    field = f"{resource.where}: spec"
    spec = fields(resource.spec, field, "broker", "filter", "filters", "subscriber", "delivery")
    broker = spec.get("broker")
    if not isinstance(broker, str) or (resource.namespace, broker) not in deliveries:
        raise ManifestError(f"{field}.broker: there is no Broker {broker!r} in {resource.namespace}")
    wanted: Filter = AllOf(())
    if spec.get("filters"):  # which win over `filter`, as on a cluster
        wanted = checked(field, lambda: parse_filters(spec["filters"], "filters"))
    elif "filter" in spec:
        wanted = checked(field, lambda: parse_attributes(spec["filter"], "filter"))
    inherited = deliveries[resource.namespace, broker]
    return Trigger(
        resource.where,
        resource.namespace,
        resource.name,
        broker,
        wanted,
        _destination(spec.get("subscriber"), f"{field}.subscriber"),
        _or_inherited(_delivery(spec["delivery"], resource), inherited) if "delivery" in spec else inherited,
    )


def _ping_source(resource: Resource) -> PingSource:
    field = f"{resource.where}: spec"
    spec = fields(resource.spec, field, "schedule", "timezone", "contentType", "data", "sink")
    for name in ("schedule", "timezone", "contentType", "data"):
        if not isinstance(spec.get(name, ""), str):
            raise ManifestError(f"{field}.{name}: is no text (quote it in YAML)")
    return PingSource(
        resource.where,
        resource.namespace,
        resource.name,
        spec.get("schedule", "* * * * *"),
        spec.get("timezone", "UTC"),
        spec.get("contentType", ""),
        spec.get("data", ""),
        _destination(spec.get("sink"), f"{field}.sink"),
    )


def _or_inherited(own: Delivery, inherited: Delivery) -> Delivery:
    return replace(own, dead_letter_sink=own.dead_letter_sink or inherited.dead_letter_sink)


def _delivery(value: object, resource: Resource) -> Delivery:
    field = f"{resource.where}: spec.delivery"
    spec = fields(value, field, "retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink")
    retry, policy = spec.get("retry", 0), spec.get("backoffPolicy", "exponential")
    if type(retry) is not int or not 0 <= retry <= _MAX_RETRY:
        raise ManifestError(f"{field}.retry: {retry!r} is not allowed; 0 to {_MAX_RETRY} is")
    if policy not in ("linear", "exponential"):
        raise ManifestError(f"{field}.backoffPolicy: {policy!r} is not allowed; linear and exponential are")
    sink = spec.get("deadLetterSink")
    return Delivery(
        retry,
        policy == "exponential",
        _seconds(spec, "backoffDelay", field) or 0.0,
        _seconds(spec, "timeout", field),
        _destination(sink, f"{field}.deadLetterSink") if sink is not None else None,
    )


def _seconds(spec: Mapping[str, Any], name: str, field: str) -> float | None:
    if name not in spec:
        return None
    return checked(f"{field}.{name}", lambda: parse_duration(spec[name]))


def _destination(value: object, field: str) -> Destination:
    spec = fields(value, field, "ref", "uri")
    uri, ref = spec.get("uri"), spec.get("ref")
    if uri is not None and not isinstance(uri, str):
        raise ManifestError(f"{field}.uri: is no text")
    if ref is None:
        if uri is None or not uri.startswith(("http://", "https://")):
            raise ManifestError(f"{field}: needs a ref, or an absolute uri")
        return Destination(field, None, uri)
    names = fields(ref, f"{field}.ref", "apiVersion", "kind", "name", "namespace")
    if not isinstance(names.get("kind"), str) or not isinstance(names.get("name"), str):
        raise ManifestError(f"{field}.ref: needs a kind and a name")
    return Destination(field, f"{names['kind']}/{names['name']}", uri)
