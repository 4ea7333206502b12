"""What a request may say: every wrong field is named, with what is allowed, and nothing else is raised."""

from __future__ import annotations

import math

import pytest

from jobs.errors import InvalidRequest
from jobs.request import MAX_PROMPT, MAX_SEED, VideoRequest
from tests.jobs.request_support import PROMPT, TINY, asked, parse, wrong


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
    assert parse(asked(width=48, num_frames=61), TINY).width == 48
    assert set(wrong(asked(width=80, num_frames=67), TINY)) == {"width", "num_frames"}
