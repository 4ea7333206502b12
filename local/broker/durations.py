"""ISO 8601 durations, as the `delivery` of Knative's resources has them."""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_DURATION = re.compile(
    r"P(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,5})M)?(?:(?P<seconds>\d{1,7}(?:\.\d)?)(?:(?<=\.\d)\d{1,8})?S)?)?"
)
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def parse_duration(text: object) -> float:
    """Seconds of an ISO 8601 duration such as PT2S, PT0.5S or P1DT12H. Raises ValueError.

    Of a second's fraction Knative reads the first digit alone, and so does this.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    given = {unit: amount for unit, amount in match.groupdict().items() if amount} if match else {}
    if not given:
        raise ValueError(f"{text!r} is no ISO 8601 duration; PT2S, PT0.5S and PT1M30S are")
    return sum(float(amount) * _SECONDS[unit] for unit, amount in given.items())
