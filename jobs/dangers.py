"""How a Redis that is configured otherwise than it should be may lose jobs. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["dangers_of"]


def dangers_of(info: Mapping[str, str]) -> tuple[str, ...]:
    """In what way a Redis whose INFO says this may lose jobs, for people; empty where it should not."""
    found = []
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):  # the others take only what has a time to live, and nothing here has
        found.append(
            f"Redis removes jobs when its memory is full (maxmemory-policy {policy}): set noeviction, "
            "so that it refuses new ones instead"
        )
    if info.get("aof_enabled") == "0":
        found.append(
            "Redis keeps no append-only file (appendonly no): the jobs since its last snapshot are lost when "
            "it ends"
        )
    return tuple(found)
