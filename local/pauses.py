"""How long to wait before a process that died is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GrowingPause"]


@dataclass
class GrowingPause:
    """Doubles with each death, from `first` to `longest`; begins anew after a run of `well`. Seconds."""

    first: float = 0.5
    longest: float = 30.0
    well: float = 60.0
    _next: float = 0.0

    def after(self, lived: float) -> float:
        """The pause after a run of `lived` seconds."""
        pause = self.first if lived >= self.well or not self._next else self._next
        self._next = min(2 * pause, self.longest)
        return pause
