"""Short words for tests of requests."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidRequest
from jobs.profile import Profile, shipped_profile
from jobs.request import VideoRequest, parse_request

QUEUES = ("short-low", "long-high")
PROMPT = {"prompt": "a red circle moving right"}


def shipped(name: str) -> Profile:
    profile = shipped_profile(name)
    assert profile is not None
    return profile


MOCHI, TINY = shipped("mochi-1-preview"), shipped("tiny-mochi")


def parse(data: object, profile: Profile = MOCHI) -> VideoRequest:
    return parse_request(data, profile, QUEUES)


def wrong(data: object, profile: Profile = MOCHI) -> dict[str, tuple[str, str]]:
    """Field → (problem, allowed) of a request that is refused."""
    with pytest.raises(InvalidRequest) as raised:
        parse(data, profile)
    for error in raised.value.errors:
        assert error.problem
        assert error.allowed
        assert len(error.problem) < 120
        assert f"{error.field}: {error.problem} (allowed: {error.allowed})" in str(raised.value)
    str(raised.value).encode()  # it can be sent
    return {e.field: (e.problem, e.allowed) for e in raised.value.errors}


def asked(**fields: object) -> dict[str, object]:
    return {**PROMPT, **fields}
