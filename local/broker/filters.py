"""Which events a Trigger wants: the filter dialects that our manifests use, and no others.

Filters see the attributes of an event as text, extensions included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AllOf", "AnyOf", "Exact", "Filter", "parse_attributes", "parse_filters"]

_DIALECTS = ("exact", "any", "all")


class Filter(Protocol):
    """A condition on the attributes of an event."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether the event is wanted."""
        ...


@dataclass(frozen=True)
class Exact:
    """Each attribute has exactly this value; "" (in `filter.attributes` only) is any value."""

    wanted: Mapping[str, str]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether all attributes are there and have their values."""
        return all(
            bool(attributes.get(name)) and value in ("", attributes[name])
            for name, value in self.wanted.items()
        )


@dataclass(frozen=True)
class AnyOf:
    """At least one of the filters matches."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether one matches."""
        return any(part.matches(attributes) for part in self.filters)


@dataclass(frozen=True)
class AllOf:
    """Every filter matches; without any, every event is wanted."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether all match."""
        return all(part.matches(attributes) for part in self.filters)


def parse_filters(value: object, field: str) -> Filter:
    """`spec.filters`: a list of which all must match. Raises ValueError, which names the field."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{field}: is no list of filters")
    return AllOf(tuple(_parse(part, f"{field}[{index}]") for index, part in enumerate(value)))


def parse_attributes(value: object, field: str) -> Filter:
    """The older `spec.filter`: `attributes`, of which "" means any value. Raises ValueError."""
    if not isinstance(value, dict) or set(value) != {"attributes"}:
        raise ValueError(f"{field}: only `attributes` is allowed")
    return Exact(_texts(value["attributes"], f"{field}.attributes", empty=True))


def _parse(value: object, field: str) -> Filter:
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{field}: is not one filter; one of {', '.join(_DIALECTS)} is")
    ((dialect, inner),) = value.items()
    if dialect == "exact":
        return Exact(_texts(inner, f"{field}.exact", empty=False))
    if dialect not in _DIALECTS:
        raise ValueError(
            f"{field}: the filter {dialect!r} is not known here; {', '.join(_DIALECTS)} are allowed"
        )
    if not isinstance(inner, list) or not inner:
        raise ValueError(f"{field}.{dialect}: is no list of filters")
    parts = tuple(_parse(part, f"{field}.{dialect}[{index}]") for index, part in enumerate(inner))
    return AnyOf(parts) if dialect == "any" else AllOf(parts)


def _texts(value: object, field: str, *, empty: bool) -> Mapping[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{field}: is no mapping of attributes to values")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str) or not (text or empty):
            raise ValueError(f"{field}.{name}: {text!r} is not allowed; text is (quote it in YAML)")
    return dict(value)
