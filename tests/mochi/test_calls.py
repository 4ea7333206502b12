"""One request, one answer: both clients, at the transport."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from mochi import (
    ApiError,
    BadRequest,
    CannotCancel,
    Conflict,
    FieldProblem,
    InvalidArgument,
    NotFound,
    NotReady,
    Retry,
    Status,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from tests.mochi.answers import JOB_ID, at_work, problem, waiting
from tests.mochi.clients import Make


class Api:
    """Answers in turn, the last one for ever, and keeps what came."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A new one each time: a response that was closed cannot be given again.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


def refused(status: int, slug: str, **more: object) -> httpx.Response:
    headers = {"content-type": "application/problem+json"}
    return httpx.Response(status, headers=headers, content=json.dumps(problem(status, slug, **more)))


def test_a_submission_carries_what_was_given_and_a_key(make: Make) -> None:
    api = Api(httpx.Response(202, json=waiting()))
    job = make(transport=api.transport).submit("a red circle", width=848, seed=None, quality="low")
    assert (job.id, job.status, job.phase, job.position) == (JOB_ID, Status.PENDING, "waiting", 0)
    [request] = api.seen
    assert (request.method, str(request.url)) == ("POST", "http://api.test/jobs")
    assert json.loads(request.content) == {"prompt": "a red circle", "width": 848, "quality": "low"}
    assert request.headers["content-type"] == "application/json"
    assert len(request.headers["idempotency-key"]) == 32


def test_two_submissions_have_two_keys_and_retries_have_one(make: Make) -> None:
    api = Api(
        httpx.ConnectError("refused"), refused(503, "store-unavailable"), httpx.Response(202, json=waiting())
    )
    client = make(transport=api.transport)
    client.submit("a red circle")
    client.submit("a red circle")
    keys = [request.headers["idempotency-key"] for request in api.seen]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_given_key_is_sent(make: Make) -> None:
    api = Api(httpx.Response(202, json=waiting()))
    make(transport=api.transport).submit("a red circle", idempotency_key="order-1")
    assert api.seen[0].headers["idempotency-key"] == "order-1"


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "a\n"])
def test_a_key_that_the_server_would_refuse_is_not_sent(make: Make, key: str) -> None:
    api = Api(httpx.Response(202, json=waiting()))
    with pytest.raises(InvalidArgument, match="idempotency_key"):
        make(transport=api.transport).submit("a red circle", idempotency_key=key)
    assert not api.seen


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deadline", datetime(2030, 1, 1)),  # noqa: DTZ001 - the naive one is the point
        ("guidance_scale", float("nan")),
        ("duration_seconds", float("inf")),
    ],
)
def test_what_json_cannot_say_is_refused_by_name(make: Make, field: str, value: object) -> None:
    api = Api(httpx.Response(202, json=waiting()))
    fields: Any = {field: value}
    with pytest.raises(InvalidArgument, match=field):
        make(transport=api.transport).submit("a red circle", **fields)
    assert not api.seen


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(400, "x"), BadRequest),
        (refused(404, "job-not-found"), NotFound),
        (refused(409, "video-not-ready"), NotReady),
        (refused(409, "cannot-cancel"), CannotCancel),
        (refused(409, "something-new"), Conflict),
        (refused(410, "video-gone"), NotFound),
        (refused(413, "body-too-large"), BadRequest),
        (refused(415, "wrong-content-type"), BadRequest),
        (refused(422, "invalid-request"), BadRequest),
        (refused(429, "backlog-full"), Unavailable),
        (refused(500, "internal-error"), Unavailable),
        (refused(503, "store-unavailable"), Unavailable),
        (httpx.Response(500, text="<html>"), Unavailable),
    ],
)
def test_each_error_has_its_class(make: Make, answer: httpx.Response, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError) as caught:
        make(transport=Api(answer).transport).get(JOB_ID)
    assert type(caught.value) is kind
    assert caught.value.status == answer.status_code


def test_an_error_says_what_the_server_said(make: Make) -> None:
    errors = [{"field": "width", "problem": "850 is no multiple of 16", "allowed": "16 to 848"}]
    answer = refused(422, "invalid-request", errors=errors)
    with pytest.raises(BadRequest, match="width: 850 is no multiple") as caught:
        make(transport=Api(answer).transport).submit("x")
    assert caught.value.errors == (FieldProblem("width", "850 is no multiple of 16", "16 to 848"),)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"status": "pending"}),
        httpx.Response(200, json={**waiting(), "status": "dreaming"}),
        httpx.Response(200, json={**waiting(), "step": "six"}),
        httpx.Response(200, json={**waiting(), "step": True}),
        httpx.Response(302, headers={"location": "/login"}),
        httpx.Response(404, text="<html>"),
        httpx.Response(200, text="[" * 100_000),
    ],
)
def test_another_servers_answer_is_told_apart(make: Make, answer: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer):
        make(transport=Api(answer).transport).get(JOB_ID)


def test_a_server_that_stays_away_is_unreachable_after_the_retries(make: Make) -> None:
    api = Api(httpx.ConnectError("refused"))
    client = make("http://me:secret@api.test", transport=api.transport)
    with pytest.raises(Unreachable) as caught:
        client.get(JOB_ID)
    assert len(api.seen) == 4
    assert "api.test" in str(caught.value)
    assert "secret" not in str(caught.value) + client.url


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_not_now_is_retried(make: Make, status: int) -> None:
    api = Api(httpx.Response(status), httpx.Response(200, json=waiting()))
    assert make(transport=api.transport).get(JOB_ID).id == JOB_ID
    assert len(api.seen) == 2


def test_a_pause_longer_than_the_policys_is_left_to_the_caller(make: Make) -> None:
    api = Api(httpx.Response(429, headers={"retry-after": "11"}), httpx.Response(200, json=waiting()))
    with pytest.raises(Unavailable) as caught:
        make(transport=api.transport, retry=Retry(pause=0.001)).get(JOB_ID)
    assert caught.value.retry_after == 11
    assert len(api.seen) == 1


def test_a_list_goes_from_page_to_page(make: Make) -> None:
    api = Api(
        httpx.Response(200, json={"jobs": [waiting(), at_work()], "next_cursor": "c1"}),
        httpx.Response(200, json={"jobs": [waiting(), at_work()], "next_cursor": None}),
    )
    jobs = list(make(transport=api.transport).list(status="pending", queue="short-low", limit=3))
    assert [job.status for job in jobs] == ["pending", "processing", "pending"]
    assert [dict(request.url.params) for request in api.seen] == [
        {"status": "pending", "queue": "short-low", "limit": "3"},
        {"status": "pending", "queue": "short-low", "limit": "1", "cursor": "c1"},
    ]


def test_a_cursor_that_does_not_move_ends_a_list(make: Make) -> None:
    api = Api(httpx.Response(200, json={"jobs": [waiting()], "next_cursor": "c1"}))
    assert len(list(make(transport=api.transport).list())) == 2


def test_a_page_keeps_its_cursor(make: Make) -> None:
    api = Api(httpx.Response(200, json={"jobs": [waiting()], "next_cursor": "c1"}))
    page = make(transport=api.transport).page(limit=1)
    assert (len(page.jobs), page.next_cursor) == (1, "c1")


def test_cancel_and_result_url(make: Make) -> None:
    api = Api(
        httpx.Response(202, json=at_work(cancel_requested=True)),
        httpx.Response(200, json={"url": "http://s3/x"}),
    )
    client = make(transport=api.transport)
    assert client.cancel(JOB_ID).cancel_requested
    assert client.result_url(JOB_ID) == "http://s3/x"
    assert [(r.method, r.url.path) for r in api.seen] == [
        ("POST", f"/jobs/{JOB_ID}/cancel"),
        ("GET", f"/download/{JOB_ID}"),
    ]


@pytest.mark.parametrize("job_id", ["", "a/b", "..", "a b", "x" * 129, "ä"])
def test_what_cannot_be_an_id_is_no_job(make: Make, job_id: str) -> None:
    api = Api(httpx.Response(200, json=waiting()))
    with pytest.raises(NotFound):
        make(transport=api.transport).get(job_id)
    assert not api.seen


def test_credentials_and_headers_go_to_the_api(make: Make) -> None:
    api = Api(httpx.Response(200, json=waiting()))
    client = make("https://me:s%40fe@api.test/base/", headers={"X-Team": "films"}, transport=api.transport)
    client.get(JOB_ID)
    assert client.url == "https://api.test/base"
    request = api.seen[0]
    assert request.url == f"https://api.test/base/jobs/{JOB_ID}"
    assert request.headers["authorization"] == "Basic bWU6c0BmZQ=="  # me:s@fe
    assert request.headers["x-team"] == "films"
    assert request.headers["user-agent"].startswith("mochi/")


@pytest.mark.parametrize(
    "url",
    ["api.test", "ftp://api.test", "http://", "http://a:b@:1", "http://x:y", "http://x/?a=1", "http://x:0"],
)
def test_what_is_no_url_is_refused_without_repeating_it(make: Make, url: str) -> None:
    with pytest.raises(InvalidArgument, match="MOCHI_URL") as caught:
        make(url)
    assert "a:b" not in str(caught.value)


def test_the_address_comes_from_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make("").url == "http://127.0.0.1:8080"
    monkeypatch.setenv("MOCHI_URL", "http://elsewhere:1")
    assert make("").url == "http://elsewhere:1"
