"""Typed reading of decoded JSON. Knows nothing of jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from mochi.errors import UnexpectedAnswer

__all__ = ["Fields", "decode_json"]

T = TypeVar("T")


def decode_json(body: bytes | str, what: str) -> object:
    """Decoded JSON. Raises UnexpectedAnswer, which says of `what`."""
    try:
        decoded: object = json.loads(body)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(f"{what} is no JSON") from None
    return decoded


@dataclass(frozen=True)
class Fields:
    """A JSON object, and what it is (for errors). Absent and null mean the same."""

    data: Mapping[str, Any]
    what: str

    @classmethod
    def of(cls, data: object, what: str) -> Self:
        """Wrap decoded JSON. Raises UnexpectedAnswer unless it is an object."""
        if not isinstance(data, dict):
            raise UnexpectedAnswer(f"{what} is no JSON object")
        return cls(data, what)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        return self._need(name, self.optional_text(name), default)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer; without a default it must be there."""
        return self._need(name, self.optional_integer(name), default)

    def number(self, name: str, default: float | None = None) -> float:
        """A number; without a default it must be there."""
        return self._need(name, self.optional_number(name), default)

    def flag(self, name: str) -> bool:
        """A boolean, false where it is absent."""
        return bool(self._typed(name, (bool,)))

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value: str | None = self._typed(name, (str,))
        return value

    def optional_integer(self, name: str) -> int | None:
        """An integer, or None where it is absent."""
        value: int | None = self._typed(name, (int,))
        return value

    def optional_number(self, name: str) -> float | None:
        """A number, or None where it is absent."""
        value: float | None = self._typed(name, (int, float))
        return value

    def time(self, name: str) -> datetime | None:
        """An RFC 3339 time, aware; None where it is absent."""
        text = self.optional_text(name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._wrong(name) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def inner(self, name: str) -> Fields | None:
        """An object, or None where it is absent."""
        value = self._typed(name, (dict,))
        return None if value is None else Fields(value, f"{self.what}'s {name}")

    def many(self, name: str) -> list[Fields]:
        """An array of objects, empty where it is absent."""
        values = self._typed(name, (list,)) or []
        return [Fields.of(value, f"{self.what}'s {name}[{i}]") for i, value in enumerate(values)]

    def _typed(self, name: str, types: tuple[type, ...]) -> Any:  # noqa: ANN401 - narrowed by `types`
        value = self.data.get(name)
        # A bool is an int to Python, and not to JSON.
        if value is not None and (
            not isinstance(value, types) or (isinstance(value, bool) != (bool in types))
        ):
            raise self._wrong(name)
        return value

    def _need(self, name: str, value: T | None, default: T | None) -> T:
        found = default if value is None else value
        if found is None:
            raise UnexpectedAnswer(f"{self.what} has no field {name!r}")
        return found

    def _wrong(self, name: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(f"the field {name!r} of {self.what} has the wrong type")
