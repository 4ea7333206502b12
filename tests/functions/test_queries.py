from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from functions.submit.queries import Listing, parse_listing, parse_redirect
from jobs.errors import InvalidRequest
from jobs.job import Status

QUEUES = ("short-low", "long-high")


def test_nothing_asked_is_the_newest_fifty() -> None:
    assert parse_listing(QueryParams(""), QUEUES) == Listing(None, None, 50, None)


def test_everything_asked_is_taken() -> None:
    asked = QueryParams("status=failed&queue=long-high&limit=200&cursor=abc")
    assert parse_listing(asked, QUEUES) == Listing(Status.FAILED, "long-high", 200, "abc")


def test_all_that_is_wrong_is_named_at_once() -> None:
    asked = QueryParams("status=done&queue=fast&limit=0&cursor=&page=2&page=3&order=asc")
    with pytest.raises(InvalidRequest) as caught:
        parse_listing(asked, QUEUES)
    fields = [e.field for e in caught.value.errors]
    assert sorted(fields) == ["cursor", "limit", "order", "page", "queue", "status"]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "1.5", "²", "1" * 5000, ""])
def test_a_limit_that_is_none(limit: str) -> None:
    with pytest.raises(InvalidRequest, match=r"limit.*1 to 200"):
        parse_listing(QueryParams({"limit": limit}), QUEUES)


def test_a_parameter_given_twice() -> None:
    with pytest.raises(InvalidRequest, match="limit: is given more than once"):
        parse_listing(QueryParams("limit=1&limit=2"), QUEUES)


def test_redirect() -> None:
    assert parse_redirect(QueryParams("")) is True
    assert parse_redirect(QueryParams("redirect=true")) is True
    assert parse_redirect(QueryParams("redirect=false")) is False
    with pytest.raises(InvalidRequest, match="redirect: 'no' is not allowed"):
        parse_redirect(QueryParams("redirect=no"))
    with pytest.raises(InvalidRequest, match="stream: is unknown"):
        parse_redirect(QueryParams("stream=1"))
