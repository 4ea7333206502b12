"""When to ask again, and after how long. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import SystemRandom

from mochi.errors import Unavailable, Unreachable

__all__ = ["RETRIED", "Patience", "Retry", "retry_after"]

#: Statuses that mean "not now".
RETRIED = frozenset({429, 502, 503, 504})

#: The longest time in seconds that a server may ask a stream or a download to stay away.
_STAY_AWAY = 60.0

_random = SystemRandom()


@dataclass(frozen=True)
class Retry:
    """How patient a client is.

    Every request of this API is safe to repeat: `submit` always has an idempotency key.
    """

    attempts: int = 4  # of one request
    reconnects: int = 12  # of an event stream or a download, in a row and without a byte received
    pause: float = 0.25  # seconds before the second attempt; doubles with each further one
    longest: float = 10.0  # seconds; a server that asks for a longer pause is not asked again

    def pause_after(self, attempt: int, asked: float | None = None) -> float:
        """Seconds to wait after the given attempt (from 1), of which the server asked for `asked`."""
        pause = min(self.pause * 2.0 ** min(attempt - 1, 30), self.longest)
        # Half of it random, so that clients that failed together do not come back together.
        return max(pause * _random.uniform(0.5, 1.0), asked or 0.0)


class Patience:
    """Counts the failures in a row of something long: a stream, a download."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self.failures = 0

    def progress(self) -> None:
        """It goes on: earlier failures do not count any more."""
        self.failures = 0

    def pause_after(self, error: Unavailable | Unreachable, asked: float = 0.0) -> float:
        """Seconds to wait before the next attempt, `asked` at least. Raises the error when it is too much."""
        self.failures += 1
        if isinstance(error, Unavailable):
            if error.status not in RETRIED:
                raise error
            asked = max(asked, error.retry_after or 0.0)
        if self.failures >= self._retry.reconnects or asked > _STAY_AWAY:
            raise error
        return self._retry.pause_after(self.failures, asked)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` asks for (seconds or an HTTP date), None where there is none to read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
