"""Property tests: the same examples in every run, and no limit on time, which a busy machine would break."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")
