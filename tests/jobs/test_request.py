"""What a request may say: every wrong field is named, with what is allowed, and nothing else is raised."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InvalidRequest
from jobs.profile import IntRange, Profile, shipped_profile
from jobs.request import MAX_PROMPT, MAX_SEED, VideoRequest, draw_seed, parse_request, resolve

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


# One field


@pytest.mark.parametrize("data", [None, [], "a prompt", 5, True, [PROMPT]])
def test_only_an_object_is_a_request(data: object) -> None:
    assert set(wrong(data)) == {"body"}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "is missing"),
        ({"prompt": None}, "wrong type"),
        ({"prompt": 5}, "wrong type"),
        ({"prompt": ["a"]}, "wrong type"),
        ({"prompt": ""}, "is blank"),
        ({"prompt": " \t\n "}, "is blank"),
        ({"prompt": "\u3000\u00a0\u2003"}, "is blank"),  # spaces beyond ASCII
        ({"prompt": "\u200b\ufeff\u2060"}, "is blank"),  # zero-width
        ({"prompt": "\u3164 \u2800"}, "is blank"),  # a letter and a symbol that show nothing
        ({"prompt": "\u0301\ufe0f"}, "is blank"),  # marks without a letter
        ({"prompt": "x" * 2001}, "has 2001 characters"),
        ({"prompt": "a\0b"}, "control character"),
        ({"prompt": "a\x1b[31m"}, "control character"),
        ({"prompt": "a\x85b"}, "control character"),
        ({"prompt": "a\ud800b"}, "control character"),  # half of a surrogate pair
    ],
)
def test_prompts_that_are_refused(data: dict[str, object], problem: str) -> None:
    errors = wrong(data)
    assert list(errors) == ["prompt"]
    assert problem in errors["prompt"][0]


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("  a circle \n", "a circle"),
        ("x" * 2000, "x" * 2000),
        (" " * 3000 + "x", "x"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("圆 🎈 👩‍🚀", "圆 🎈 👩‍🚀"),  # the last is joined by a zero-width character
        ("?", "?"),
    ],
)
def test_prompts_that_are_taken(prompt: str, kept: str) -> None:
    assert parse({"prompt": prompt}).prompt == kept


def test_a_negative_prompt_may_be_blank_but_not_wrong() -> None:
    assert parse(asked(negative_prompt="  ")).negative_prompt == ""
    assert list(wrong(asked(negative_prompt="x" * (MAX_PROMPT + 1)))) == ["negative_prompt"]
    assert list(wrong(asked(negative_prompt="\0"))) == ["negative_prompt"]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("width", 850, "multiples of 16 from 64 to 848"),
        ("width", 0, "multiples of 16 from 64 to 848"),
        ("width", -16, "multiples of 16 from 64 to 848"),
        ("width", 864, "multiples of 16 from 64 to 848"),
        pytest.param("width", 10**5000, "multiples of 16 from 64 to 848", id="huge-width"),
        ("height", 100, "multiples of 16 from 64 to 848"),
        ("height", 0, "multiples of 16 from 64 to 848"),
        ("num_frames", 8, "6k+1 from 7 to 163"),
        ("num_frames", 5, "6k+1 from 7 to 163"),
        ("num_frames", 1, "6k+1 from 7 to 163"),
        ("num_frames", 164, "6k+1 from 7 to 163"),
        ("num_frames", 169, "6k+1 from 7 to 163"),
        ("num_inference_steps", 0, "2 to 200"),
        ("num_inference_steps", 1, "2 to 200"),
        ("num_inference_steps", 201, "2 to 200"),
        ("duration_seconds", 0, "0.23 to 5.43 seconds"),
        ("duration_seconds", -1, "0.23 to 5.43 seconds"),
        ("duration_seconds", 5.6, "0.23 to 5.43 seconds"),
        ("duration_seconds", 1e300, "0.23 to 5.43 seconds"),
        ("duration_seconds", math.nan, "a finite number"),
        ("duration_seconds", 10**400, "a number"),
        ("guidance_scale", math.nan, "a finite number"),
        ("guidance_scale", math.inf, "a finite number"),
        ("guidance_scale", -math.inf, "a finite number"),
        ("guidance_scale", 0.5, "1 to 20"),
        ("guidance_scale", 20.1, "1 to 20"),
        ("seed", -1, f"0 to {MAX_SEED}"),
        ("seed", MAX_SEED + 1, f"0 to {MAX_SEED}"),
        pytest.param("seed", 10**5000, f"0 to {MAX_SEED}", id="huge-seed"),
        ("quality", "ultra", "low, medium, high"),
        ("quality", "LOW", "low, medium, high"),
        ("quality", "\ud800", "low, medium, high"),
        ("queue", "express", "short-low, long-high"),
        ("queue", "", "short-low, long-high"),
        ("queue", "x" * 10_000, "short-low, long-high"),
    ],
)
def test_values_that_are_refused(field: str, value: object, allowed: str) -> None:
    errors = wrong(asked(**{field: value}))
    assert list(errors) == [field]
    assert errors[field][1] == allowed


@pytest.mark.parametrize(
    "field",
    ["width", "height", "num_frames", "num_inference_steps", "seed", "duration_seconds", "guidance_scale"],
)
@pytest.mark.parametrize("value", [True, False, "5", "", [], {}, [5]])
def test_what_is_no_number_is_refused(field: str, value: object) -> None:
    errors = wrong(asked(**{field: value}))
    assert list(errors) == [field]
    assert errors[field][0] == "has the wrong type"
    assert errors[field][1] in ("an integer", "a number")


@pytest.mark.parametrize("field", ["width", "num_frames", "num_inference_steps", "seed"])
def test_a_fraction_is_no_integer(field: str) -> None:
    assert wrong(asked(**{field: 7.0}))[field] == ("has the wrong type", "an integer")


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "quality", "queue"])
@pytest.mark.parametrize("value", [5, 1.5, True, [], {}])
def test_what_is_no_text_is_refused(field: str, value: object) -> None:
    assert wrong(asked(**{field: value}))[field] == ("has the wrong type", "a string")


def test_null_means_absent() -> None:
    nothing = {name: None for name in VideoRequest.model_fields if name != "prompt"}
    assert parse(asked(**nothing)).fingerprint() == parse(PROMPT).fingerprint()


# Deadlines


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31t12:00:00z", "2030-01-31T12:00:00Z"),
        ("2030-01-31 12:00:00.5+00:00", "2030-01-31T12:00:00.500000Z"),
        ("2030-01-31T12:00:00.123456789+05:30", "2030-01-31T06:30:00.123456Z"),
        ("2030-12-31T23:30:00-01:00", "2031-01-01T00:30:00Z"),
    ],
)
def test_deadlines_that_are_taken(text: str, utc: str) -> None:
    spec = resolve(parse(asked(deadline=text)), MOCHI, QUEUES, 1)
    assert spec.deadline == utc


def test_a_deadline_in_microseconds() -> None:
    spec = resolve(parse(asked(deadline="1970-01-01T00:00:01.000002Z")), MOCHI, QUEUES, 1)
    assert spec.deadline_us == 1_000_002
    assert resolve(parse(PROMPT), MOCHI, QUEUES, 1).deadline_us is None


@pytest.mark.parametrize(
    "value",
    [
        "tomorrow",
        "",
        "2030-01-31",
        "2030-01-31T12:00:00",  # no time zone
        "20300131T120000Z",  # ISO 8601, not RFC 3339
        "2030-W05-4T12:00:00Z",
        "2030-01-31T12:00Z",
        "2030-02-30T12:00:00Z",
        "2030-01-31T25:00:00Z",
        "2030-01-31T12:00:00+25:00",
        "0001-01-01T00:00:00+23:59",  # before the first year in UTC
        "9999-12-31T23:59:59-23:59",  # after the last one
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "٢٠٣٠-01-31T12:00:00Z",
        1900000000,
        True,
        ["2030-01-31T12:00:00Z"],
    ],
)
def test_deadlines_that_are_refused(value: object) -> None:
    errors = wrong(asked(deadline=value))
    assert list(errors) == ["deadline"]
    assert "RFC 3339 with a time zone" in errors["deadline"][1]


# Several fields


def test_all_wrong_fields_are_told_at_once() -> None:
    errors = wrong(
        {
            "prompt": " ",
            "negative_prompt": 5,
            "width": 850,
            "height": -1,
            "num_frames": 8,
            "duration_seconds": 2,
            "quality": "low",
            "num_inference_steps": 1,
            "guidance_scale": math.nan,
            "seed": "7",
            "queue": "express",
            "deadline": "soon",
            "colour": "red",
        }
    )
    assert set(errors) == {*VideoRequest.model_fields, "colour"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"num_frames": 7}, {"duration_seconds": 1}),
        ({"quality": "low"}, {"num_inference_steps": 24}),
    ],
)
def test_either_or(one: dict[str, object], two: dict[str, object]) -> None:
    errors = wrong(asked(**one, **two))
    names = {*one, *two}
    assert set(errors) == names
    for problem, allowed in errors.values():
        assert "given together with" in problem
        assert all(name in allowed for name in names)
    parse(asked(**one))
    parse(asked(**two))
    parse(asked(**one, **dict.fromkeys(two)))


def test_a_size_whose_sides_are_fine_and_whose_area_is_not() -> None:
    errors = wrong(asked(width=848, height=848))
    assert set(errors) == {"width", "height"}
    assert errors["width"] == ("848x848 is too large", "width x height of at most 407040 pixels")
    assert set(wrong(asked(height=496))) == {"height"}  # with the default width
    assert parse(asked(width=480, height=848)).height == 848


def test_unknown_fields_are_named_with_those_that_are_known() -> None:
    errors = wrong(asked(promt="x", colour="red"))
    assert set(errors) == {"promt", "colour"}
    assert "negative_prompt" in errors["promt"][1]


def test_unknown_fields_make_no_endless_answer() -> None:
    many: dict[str, object] = {f"{n}{'x' * 500}": n for n in range(5000)}
    with pytest.raises(InvalidRequest) as raised:
        parse({**many, "width": 1})
    assert {"prompt", "width"} <= {e.field for e in raised.value.errors}
    assert len(str(raised.value)) < 20_000


@pytest.mark.parametrize("name", ["\ud800", "", "a\0b", "prompt ", "Prompt"])
def test_odd_names_of_fields(name: str) -> None:
    assert len(wrong(asked(**{name: 1}))) == 1


def test_the_profile_decides() -> None:
    assert parse(asked(width=128, num_frames=61), TINY).width == 128
    assert set(wrong(asked(width=848, num_frames=163), TINY)) == {"width", "num_frames"}


# Nothing left open


def test_defaults_are_those_of_the_profile() -> None:
    spec = resolve(parse(PROMPT), MOCHI, QUEUES, 42)
    assert (spec.width, spec.height, spec.num_frames, spec.fps) == (848, 480, 85, 30)
    assert (spec.num_inference_steps, spec.guidance_scale, spec.seed) == (64, 4.5, 42)
    assert (spec.negative_prompt, spec.deadline) == ("", None)
    assert spec.queue == "long-high"


def test_what_was_asked_wins() -> None:
    request = parse(
        asked(
            width=480, height=320, num_frames=7, quality="low", guidance_scale=1, seed=0, negative_prompt="x"
        )
    )
    spec = resolve(request, MOCHI, QUEUES, 42)
    assert (spec.width, spec.height, spec.num_frames, spec.num_inference_steps) == (480, 320, 7, 24)
    assert (spec.guidance_scale, spec.seed, spec.negative_prompt) == (1.0, 0, "x")
    assert spec.queue == "short-low"
    assert resolve(parse(asked(queue="short-low")), MOCHI, QUEUES, 1).queue == "short-low"


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.23, 7), (0.3, 7), (0.35, 13), (1, 31), (1.0, 31), (2, 61), (2.75, 85), (5.43, 163), (5.5, 163)],
)
def test_durations_are_rounded_to_frames(seconds: float, frames: int) -> None:
    assert resolve(parse(asked(duration_seconds=seconds)), MOCHI, QUEUES, 1).num_frames == frames


@given(st.floats(0.01, 7, allow_nan=False))
def test_a_duration_is_never_far_off(seconds: float) -> None:
    try:
        request = parse(asked(duration_seconds=seconds))
    except InvalidRequest:
        assert not 7 / 30 <= seconds <= 163 / 30
    else:
        frames = resolve(request, MOCHI, QUEUES, 1).num_frames
        assert MOCHI.num_frames.allows(frames)
        assert abs(frames - seconds * 30) <= 3 + 1e-6


def test_seeds_are_drawn_from_all_that_javascript_keeps() -> None:
    seeds = {draw_seed() for _ in range(200)}
    assert len(seeds) == 200
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


# Properties

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
