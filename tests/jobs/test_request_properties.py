"""What holds for any request: only InvalidRequest is raised, and the result is what the profile allows."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InvalidRequest
from jobs.profile import IntRange, Profile
from jobs.request import MAX_SEED, VideoRequest, resolve
from tests.jobs.request_support import MOCHI, QUEUES, TINY, asked, parse

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates, too
_ANY_VALUE = (
    _JSON | _ANY_TEXT | st.integers(-(10**30), 10**30) | st.datetimes(timezones=st.timezones()).map(str)
)
_ANY_REQUEST = st.dictionaries(
    st.sampled_from([*VideoRequest.model_fields]) | _ANY_TEXT, _ANY_VALUE, max_size=8
)


def _valid(profile: Profile) -> st.SearchStrategy[dict[str, Any]]:
    def among(rule: IntRange) -> st.SearchStrategy[int]:
        first = next(n for n in range(rule.min, rule.max + 1) if rule.allows(n))
        return st.integers(0, (rule.max - first) // rule.multiple_of).map(
            lambda k: first + k * rule.multiple_of
        )

    length = st.fixed_dictionaries(
        {}, optional={"num_frames": among(profile.num_frames)}
    ) | st.fixed_dictionaries(
        {"duration_seconds": st.floats(profile.num_frames.min / 30, profile.num_frames.max / 30)}
    )
    steps = st.fixed_dictionaries(
        {"quality": st.sampled_from(sorted(profile.quality))}
    ) | st.fixed_dictionaries({}, optional={"num_inference_steps": among(profile.num_inference_steps)})
    rest = st.fixed_dictionaries(
        {"prompt": st.text("abc \U0001f388", min_size=1).filter(str.strip)},
        optional={
            "negative_prompt": st.text("abc "),
            "width": among(profile.width),
            "height": among(profile.height),
            "guidance_scale": st.floats(profile.guidance_scale.min, profile.guidance_scale.max),
            "seed": st.integers(0, MAX_SEED),
            "queue": st.sampled_from(QUEUES),
            "deadline": st.sampled_from(["2030-01-31T12:00:00Z", "2031-01-31T12:00:00.25+01:00"]),
        },
    )
    return st.tuples(rest, length, steps).map(lambda parts: parts[0] | parts[1] | parts[2])


@settings(max_examples=400)
@given(_JSON | _ANY_REQUEST)
def test_nothing_but_invalid_request_is_ever_raised(data: object) -> None:
    try:
        request = parse(data)
    except InvalidRequest as error:
        sent = json.dumps([vars(e) for e in error.errors], ensure_ascii=False)
        assert len(sent.encode()) > len("[]")  # either end is right
    else:
        resolve(request, MOCHI, QUEUES, 1).to_json().encode()
        assert len(request.fingerprint()) == 64


@pytest.mark.parametrize("profile", [MOCHI, TINY], ids=lambda p: p.name)
@given(data=st.data())
def test_what_is_resolved_is_what_the_profile_allows(profile: Profile, data: st.DataObject) -> None:
    raw = data.draw(_valid(profile).filter(lambda r: _area(r, profile) <= profile.max_pixels))
    request = parse(raw, profile)
    spec = resolve(request, profile, QUEUES, 7)
    for name in ("width", "height", "num_frames", "num_inference_steps"):
        assert getattr(profile, name).allows(getattr(spec, name))
        if name in raw:
            assert getattr(spec, name) == raw[name]
    assert profile.guidance_scale.min <= spec.guidance_scale <= profile.guidance_scale.max
    assert spec.width * spec.height <= profile.max_pixels
    assert spec.queue in QUEUES
    assert 0 <= spec.seed <= MAX_SEED
    assert type(spec).from_json(spec.to_json()) == spec
    assert json.loads(json.dumps(spec.public())) == spec.public()


def _area(raw: dict[str, Any], profile: Profile) -> int:
    area: int = raw.get("width", profile.width.default) * raw.get("height", profile.height.default)
    return area


@given(_valid(MOCHI).filter(lambda r: _area(r, MOCHI) <= MOCHI.max_pixels), st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(raw: dict[str, Any], random: Random) -> None:
    keys = list(raw)
    random.shuffle(keys)
    assert parse({key: raw[key] for key in keys}).fingerprint() == parse(raw).fingerprint()


def test_a_fingerprint_is_of_what_was_asked() -> None:
    def fingerprint(**fields: object) -> str:
        return parse(asked(**fields)).fingerprint()

    assert fingerprint() != fingerprint(seed=1)
    assert fingerprint() != fingerprint(width=848)  # before defaults
    assert fingerprint(duration_seconds=2) == fingerprint(duration_seconds=2.0)
    assert fingerprint(deadline="2030-01-01T01:00:00+01:00") == fingerprint(deadline="2030-01-01T00:00:00Z")
    assert parse({"prompt": " a "}).fingerprint() == parse({"prompt": "a"}).fingerprint()
