"""What a Broker with Triggers does, whichever it is: one suite, to be run over the local one and a cluster's.

A suite over another broker subclasses `BrokerContract` and gives a `deployment` fixture: a broker with
`broker_delivery(recorder)` on which `subscriptions(recorder, late_port)` are deployed, and which reaches the
recorder. Each test's events have a type of their own, so that all Triggers are deployed once.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent

from tests.local.broker.recorder import Answer, Recorder, event_answer
from tests.local.broker.support import Subscription, event_headers

__all__ = ["BrokerContract", "Deployment", "broker_delivery", "post", "received", "subscriptions"]


@dataclass(frozen=True)
class Deployment:
    """A broker with the suite's Triggers."""

    url: str  # where events are posted
    recorder: Recorder
    late_port: int  # of a subscriber that is not up yet
    client: httpx.Client


def broker_delivery(recorder: Recorder) -> Mapping[str, Any]:
    """The delivery of the Broker itself."""
    letters = {"deadLetterSink": {"uri": recorder.url("/letters/broker")}}
    return {"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT0.1S", **letters}


def subscriptions(recorder: Recorder, late_port: int) -> Sequence[Subscription]:
    """The Triggers of the suite."""

    def to(name: str, *types: str, **delivery: object) -> Subscription:
        return Subscription(
            name,
            [{"any": [{"exact": {"type": type_}} for type_ in types or [f"test.{name}"]]}],
            recorder.url(f"/{name}"),
            {"backoffPolicy": "exponential", "backoffDelay": "PT0.1S", **delivery},
        )

    def letters(name: str) -> dict[str, object]:
        return {"deadLetterSink": {"uri": recorder.url(f"/letters/{name}")}}

    return [
        to("plain"),
        Subscription(
            "filtered",
            [
                {"any": [{"exact": {"type": "test.filtered.a"}}, {"exact": {"type": "test.filtered.b"}}]},
                {"exact": {"queue": "short"}},
            ],
            recorder.url("/filtered"),
        ),
        to("twice-one", "test.twice"),
        to("twice-two", "test.twice"),
        to("asking"),
        to("answered"),
        to("empty", retry=2),
        to("loop", retry=2, **letters("loop")),
        to("longer-loop", **letters("longer-loop")),
        to("unavailable", retry=3),
        to("patient", retry=1),
        Subscription(
            "late",
            [{"exact": {"type": "test.late"}}],
            f"http://{recorder.host}:{late_port}/late",
            {"retry": 8, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S"},
        ),
        Subscription(
            "away",
            [{"exact": {"type": "test.away"}}],
            f"http://{recorder.host}:1/away",
            {"retry": 0, **letters("away")},
        ),
        Subscription("brokers", [{"exact": {"type": "test.brokers"}}], recorder.url("/brokers")),
        Subscription(
            "only-letters",
            [{"exact": {"type": "test.only-letters"}}],
            recorder.url("/only-letters"),
            letters("only-letters"),
        ),
        to("only-retries", retry=2),
        to("refusing", retry=5, **letters("refusing")),
        to("failing", retry=2, **letters("failing")),
        to("slow", retry=1, timeout="PT0.3S", **letters("slow")),
        to("chatty", retry=1, **letters("chatty")),
        to("malformed", retry=1, **letters("malformed")),
        to("bad-letters", retry=2, **letters("bad-letters")),
        to("long", timeout="PT60S"),
    ]


class BrokerContract:
    """The suite."""

    @pytest.mark.parametrize("body", [b"", b'{"a":1}', bytes(range(256))])
    def test_an_event_reaches_its_subscriber_as_it_was(self, deployment: Deployment, body: bytes) -> None:
        event_id = f"binary-{len(body)}"
        headers = event_headers("test.plain", event_id, subject="a b", traceparent="00-1-2-01", other="x%22y")
        headers["ce-subject"] = "a%20b"
        headers["content-type"] = "application/vnd.test"
        answer = post(deployment, headers, body)
        assert (answer.status_code, answer.content) == (202, b"")
        (request,) = received(deployment, "/plain", event_id)
        assert request.body == body
        assert {k: v for k, v in request.headers.items() if k in headers} == headers
        assert "ce-knativebrokerttl" not in request.headers

    @pytest.mark.parametrize("structured", [False, True])
    def test_the_sdks_events_are_taken(self, deployment: Deployment, structured: bool) -> None:
        event_id = f"sdk-{structured}"
        attributes = {
            "type": "test.plain",
            "source": "/sdk",
            "id": event_id,
            "queue": "short",
            "subject": "s",
            "datacontenttype": "application/json",
        }
        event = CloudEvent(attributes, {"n": 1, "text": "žluťoučký"})
        headers, body = to_structured(event) if structured else to_binary(event)
        assert post(deployment, headers, body).status_code == 202
        (request,) = received(deployment, "/plain", event_id)
        assert request.headers["ce-queue"] == "short"
        assert request.headers["content-type"].startswith("application/json")
        assert json.loads(request.body) == {"n": 1, "text": "žluťoučký"}

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({}, b"{}"),
            ({"content-type": "application/json"}, b"{}"),
            ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"}, b""),
            ({"ce-specversion": "2.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s"}, b""),
            ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "", "ce-source": "/s"}, b""),
            (event_headers(time="yesterday"), b""),
            ({"content-type": "application/cloudevents+json"}, b"not json"),
            ({"content-type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"1"}'),
            ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ],
    )
    def test_what_is_no_event_is_refused(
        self, deployment: Deployment, headers: dict[str, str], body: bytes
    ) -> None:
        assert post(deployment, headers, body).status_code == 400

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_other_methods_are_refused(self, deployment: Deployment, method: str) -> None:
        answer = deployment.client.request(method, deployment.url)
        assert answer.status_code == 405
        assert "POST" in answer.headers["allow"]

    def test_an_unknown_broker_is_not_found(self, deployment: Deployment) -> None:
        answer = deployment.client.post(f"{deployment.url}-not", headers=event_headers())
        assert answer.status_code == 404

    def test_filters_choose_by_type_and_extension(self, deployment: Deployment) -> None:
        for event_id, type_, queue in [
            ("1", "test.filtered.a", "long"),
            ("2", "test.filtered.c", "short"),
            ("3", "test.filtered.a", "short"),
            ("4", "test.filtered.b", "short"),
        ]:
            assert post(deployment, event_headers(type_, event_id, queue=queue)).status_code == 202
        assert post(deployment, event_headers("test.filtered.a", "5")).status_code == 202
        assert post(deployment, event_headers("test.filtered.a", "6", queue="short")).status_code == 202
        requests = deployment.recorder.wait("/filtered", 3)
        assert {r.id for r in requests} == {"3", "4", "6"}

    def test_every_trigger_that_wants_an_event_gets_it(self, deployment: Deployment) -> None:
        post(deployment, event_headers("test.twice", "both"))
        received(deployment, "/twice-one", "both")
        received(deployment, "/twice-two", "both")

    def test_a_reply_is_a_new_event(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/asking", event_answer("test.answered", queue="q"))
        post(deployment, event_headers("test.asking", "question"))
        (request,) = received(deployment, "/answered", "reply")
        assert request.body == b'{"re":"ply"}'
        assert request.headers["ce-queue"] == "q"
        assert len(deployment.recorder.received("/asking")) == 1

    @pytest.mark.parametrize("code", [200, 202, 204])
    def test_an_empty_answer_says_nothing(self, deployment: Deployment, code: int) -> None:
        before = len(deployment.recorder.received("/empty"))
        deployment.recorder.answer("/empty", *[Answer()] * before, Answer(code, {"x-other": "y"}), Answer())
        post(deployment, event_headers("test.empty", f"empty-{code}"))
        received(deployment, "/empty", f"empty-{code}")
        post(deployment, event_headers("test.empty", f"next-{code}"))
        received(deployment, "/empty", f"next-{code}")
        assert len(deployment.recorder.received("/empty")) == before + 2

    def test_a_loop_of_replies_ends(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/loop", event_answer("test.loop"))
        deployment.recorder.answer("/longer-loop", event_answer("test.longer-loop"))
        post(deployment, event_headers("test.loop", "first", knativebrokerttl="4"))
        deployment.recorder.wait("/loop", 3)
        # Eleven hops of another loop take longer than a fourth of this one would.
        post(deployment, event_headers("test.longer-loop", "first", knativebrokerttl="12"))
        deployment.recorder.wait("/longer-loop", 11)
        assert [r.id for r in deployment.recorder.received("/loop")] == ["first", "reply", "reply"]
        assert post(deployment, event_headers("test.loop", "x", knativebrokerttl="1")).status_code == 400

    def test_the_event_whose_reply_has_no_hops_left_is_a_dead_letter(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/loop", event_answer("test.loop"))
        post(deployment, event_headers("test.loop", "last", knativebrokerttl="2"), b"body")
        (letter,) = received(deployment, "/letters/loop", "last")
        assert letter.headers["ce-knativeerrorcode"] == "400"
        assert letter.headers["ce-knativeerrordest"].endswith("/default")  # the Broker, which refuses it
        assert letter.headers["ce-knativeerrordata"] == ""
        assert letter.body == b"body"
        assert [r.id for r in deployment.recorder.received("/loop")].count("last") == 1

    @pytest.mark.parametrize("code", [404, 408, 409, 429, 500, 503])
    def test_what_may_work_later_is_tried_again(self, deployment: Deployment, code: int) -> None:
        before = len(deployment.recorder.received("/unavailable"))
        deployment.recorder.answer("/unavailable", *[Answer()] * before, Answer(code), Answer(code), Answer())
        post(deployment, event_headers("test.unavailable", f"again-{code}"))
        requests = deployment.recorder.wait("/unavailable", before + 3)
        assert [r.id for r in requests[before:]] == [f"again-{code}"] * 3

    def test_only_the_backoff_counts(self, deployment: Deployment) -> None:
        later = {"retry-after": "3600"}
        deployment.recorder.answer("/patient", Answer(503, later), Answer())
        post(deployment, event_headers("test.patient", "patient"))
        assert [r.id for r in deployment.recorder.wait("/patient", 2)] == ["patient", "patient"]

    def test_a_subscriber_that_is_not_up_yet_gets_it_later(self, deployment: Deployment) -> None:
        post(deployment, event_headers("test.late", "late"))
        with Recorder(deployment.late_port, deployment.recorder.host) as subscriber:
            assert subscriber.wait("/late")[0].id == "late"

    @pytest.mark.parametrize("code", [400, 403, 422])
    def test_what_can_never_work_is_a_dead_letter_at_once(self, deployment: Deployment, code: int) -> None:
        before = len(deployment.recorder.received("/refusing"))
        # As long as Knative's dispatcher survives: 1024 characters of base64.
        body = b'{"detail":"no"}'.ljust(768)
        problem = Answer(code, {"content-type": "application/problem+json"}, body)
        deployment.recorder.answer("/refusing", problem)
        post(deployment, event_headers("test.refusing", f"never-{code}", queue="q"), b"body")
        (letter,) = received(deployment, "/letters/refusing", f"never-{code}")
        assert len(deployment.recorder.received("/refusing")) == before + 1
        assert letter.headers["ce-knativeerrordest"] == deployment.recorder.url("/refusing")
        assert letter.headers["ce-knativeerrorcode"] == str(code)
        assert len(letter.headers["ce-knativeerrordata"]) == 1024
        assert base64.b64decode(letter.headers["ce-knativeerrordata"]) == body
        assert (letter.headers["ce-queue"], letter.body) == ("q", b"body")

    def test_retries_come_to_an_end(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/failing", Answer(503))
        post(deployment, event_headers("test.failing", "in-vain"))
        (letter,) = received(deployment, "/letters/failing", "in-vain")
        assert letter.headers["ce-knativeerrorcode"] == "503"
        assert len(deployment.recorder.received("/failing")) == 3

    def test_no_answer_has_a_code_of_its_own(self, deployment: Deployment) -> None:
        post(deployment, event_headers("test.away", "away"))
        (letter,) = received(deployment, "/letters/away", "away")
        assert letter.headers["ce-knativeerrordest"] == f"http://{deployment.recorder.host}:1/away"
        assert letter.headers["ce-knativeerrorcode"] == "500"
        assert base64.b64decode(letter.headers["ce-knativeerrordata"]).startswith(b"dispatch error: ")

    def test_a_trigger_without_a_delivery_has_the_brokers(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/brokers", Answer(503))
        post(deployment, event_headers("test.brokers", "brokers"))
        (letter,) = received(deployment, "/letters/broker", "brokers")
        assert letter.headers["ce-knativeerrordest"] == deployment.recorder.url("/brokers")
        assert len(deployment.recorder.received("/brokers")) == 2

    def test_a_delivery_of_its_own_has_none_of_the_brokers_retries(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/only-letters", Answer(503))
        post(deployment, event_headers("test.only-letters", "once"))
        received(deployment, "/letters/only-letters", "once")
        assert len(deployment.recorder.received("/only-letters")) == 1

    def test_a_delivery_without_a_dead_letter_sink(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/only-retries", Answer(503))
        post(deployment, event_headers("test.only-retries", "fallback"))
        (letter,) = received(deployment, "/letters/broker", "fallback")
        assert letter.headers["ce-knativeerrorcode"] == "503"
        assert len(deployment.recorder.received("/only-retries")) == 3

    def test_a_slow_answer_is_none(self, deployment: Deployment) -> None:
        never = threading.Event()
        deployment.recorder.answer("/slow", Answer(gate=never))
        post(deployment, event_headers("test.slow", "slow"))
        try:
            (letter,) = received(deployment, "/letters/slow", "slow")
        finally:
            never.set()
        assert not [name for name in letter.headers if name.startswith("ce-knativeerror")]
        assert len(deployment.recorder.received("/slow")) == 2

    def test_a_body_that_is_no_event_is_a_failure(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/chatty", Answer(200, {"content-type": "text/plain"}, b"OK"))
        post(deployment, event_headers("test.chatty", "chatty"))
        (letter,) = received(deployment, "/letters/chatty", "chatty")
        assert not [name for name in letter.headers if name.startswith("ce-knativeerror")]
        assert len(deployment.recorder.received("/chatty")) == 2

    def test_a_reply_that_is_no_valid_event_is_not_asked_for_again(self, deployment: Deployment) -> None:
        deployment.recorder.answer(
            "/malformed", Answer(200, {"ce-specversion": "1.0", "ce-type": "t"}, b"{}")
        )
        post(deployment, event_headers("test.malformed", "malformed"))
        (letter,) = received(deployment, "/letters/malformed", "malformed")
        assert letter.headers["ce-knativeerrorcode"] == "400"
        assert len(deployment.recorder.received("/malformed")) == 1

    def test_dead_letters_are_tried_again_too(self, deployment: Deployment) -> None:
        deployment.recorder.answer("/bad-letters", Answer(400))
        deployment.recorder.answer("/letters/bad-letters", Answer(503), Answer(503), Answer())
        post(deployment, event_headers("test.bad-letters", "twice-dead"))
        deployment.recorder.wait("/letters/bad-letters", 3)

    def test_a_long_delivery_holds_up_no_other(self, deployment: Deployment) -> None:
        gate = threading.Event()
        deployment.recorder.answer("/long", Answer(gate=gate), Answer())
        try:
            post(deployment, event_headers("test.long", "long"))
            received(deployment, "/long", "long")
            for n in range(20):
                post(deployment, event_headers("test.long", f"short-{n}"))
            deployment.recorder.wait("/long", 21)
        finally:
            gate.set()


def post(deployment: Deployment, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
    """Post to the Broker."""
    return deployment.client.post(deployment.url, headers=headers, content=body)


def received(deployment: Deployment, path: str, event_id: str) -> list[Any]:
    """The requests with this event, once one has come."""
    requests = deployment.recorder.wait_until(path, lambda found: any(r.id == event_id for r in found))
    return [r for r in requests if r.id == event_id]
