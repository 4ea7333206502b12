"""The one Lua script that holds all transitions, and the clock that it reads.

Knows no transition: `jobs/transitions.lua` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha1
from importlib import resources

__all__ = ["Script", "transitions"]

_CLOCK = re.compile(r"-- CLOCK.*?-- END CLOCK\n", re.DOTALL)


@dataclass(frozen=True)
class Script:
    """A Lua script as Redis knows it."""

    text: str

    @property
    def sha(self) -> str:
        """The name under which Redis has it cached."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def transitions(clock: str | None = None) -> Script:
    """The transitions, on Redis' own clock, or on another one for a simulation.

    `clock` is the body of a Lua function that returns microseconds since the epoch, for example
    `return tonumber(redis.call('GET', 'now'))`.
    """
    text = (resources.files("jobs") / "transitions.lua").read_text("utf-8")
    if clock is not None:
        text = _CLOCK.sub(lambda _: f"local function clock()\n{clock}\nend\n", text, count=1)
    return Script(text)
