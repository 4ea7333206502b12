"""Which profile requests are judged by: the deployed model's, or the one shipped for its name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from functions.errors import ProfileUnknown
from jobs.profile import Profile, shipped_profile

__all__ = ["Profiles"]

_FRESH_SECONDS = 5.0  # a predictor with another model is noticed after this long


class Profiles:
    """Keeps the profile for a few seconds, so that a submission does not ask Redis for it."""

    def __init__(self, load: Callable[[], Awaitable[Profile | None]], model_name: str) -> None:
        self._load = load
        self._model_name = model_name
        self._lock = asyncio.Lock()
        self._profile: Profile | None = None
        self._stale_at = 0.0

    async def current(self) -> Profile:
        """The profile. Raises ProfileUnknown, StoreUnavailable."""
        if time.monotonic() >= self._stale_at or self._profile is None:
            async with self._lock:
                if time.monotonic() >= self._stale_at:
                    await self._refresh()
        if self._profile is None:
            raise ProfileUnknown(self._model_name)
        return self._profile

    async def _refresh(self) -> None:
        self._profile = await self._load() or shipped_profile(self._model_name)
        if self._profile is not None:
            self._stale_at = time.monotonic() + _FRESH_SECONDS
