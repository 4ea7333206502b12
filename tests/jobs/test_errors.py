"""The tree of errors is the one that is drawn, and each error can be shown to a user."""

from __future__ import annotations

import inspect
import re

import pytest

from jobs import errors
from jobs.errors import (
    BacklogFull,
    ConfigurationError,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    MochiError,
    NotReady,
    PoolBusy,
    PublishFailed,
    StorageUnavailable,
    StoreUnavailable,
)

CLASSES = {
    name: cls for name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, MochiError)
}
EXAMPLES: list[MochiError] = [
    InvalidRequest([FieldError("width", "850 is not allowed", "multiples of 16")]),
    IdempotencyConflict("job-1"),
    JobNotFound("job-1"),
    NotReady("job-1", "processing"),
    BacklogFull("short-low", 10_000, 30),
    PoolBusy(20),
    StoreUnavailable("Redis is away"),
    StorageUnavailable("the object store is away"),
    PublishFailed("the Broker is away"),
    ConfigurationError("K_SINK: is missing"),
]


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = re.findall(r"^[├└]── (\w+)\s+(\d+)  \S", errors.__doc__ or "", re.MULTILINE)
    assert {name: int(status) for name, status in drawn} == {
        name: cls.status for name, cls in CLASSES.items() if cls is not MochiError
    }
    assert all(cls.__mro__[1] is MochiError for cls in CLASSES.values() if cls is not MochiError)
    assert MochiError.__mro__[1] is Exception


def test_every_error_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == set(CLASSES.values()) - {MochiError}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_an_error_can_be_told(error: MochiError) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", error.slug)
    assert error.title[0].isupper()
    assert (error.retry_after is not None) == (error.status in (429, 503))
    assert type(error).__doc__


def test_slugs_are_unique() -> None:
    assert len({cls.slug for cls in CLASSES.values()}) == len(CLASSES)


def test_an_error_says_what_it_is_about() -> None:
    invalid = InvalidRequest([FieldError("a", "is wrong", "1"), FieldError("b", "is missing", "2")])
    assert [e.field for e in invalid.errors] == ["a", "b"]
    assert str(invalid) == "a: is wrong (allowed: 1); b: is missing (allowed: 2)"
    assert "processing" in str(NotReady("job-1", "processing"))
    assert BacklogFull("q", 5, 30).retry_after == 30
    assert PoolBusy(7).retry_after == 7
    assert "job-1" in str(IdempotencyConflict("job-1"))
    assert len(str(JobNotFound("x" * 10_000))) < 200
    assert "\n" not in str(JobNotFound("a\nb"))
