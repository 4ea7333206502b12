"""Delivers one event to one subscriber: tries, waits, dead letters; what Knative's dispatcher does.

Success is a 2xx that is empty or a CloudEvent. No answer, 404, 408, 409, 429, 5xx and a 2xx with another
body are tried again; everything else goes to the dead letter sink at once. So does an event whose reply the
Broker itself refuses, because it lacks an attribute or has no hops left. Knows no Redis.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass

import httpx
import structlog

from jobs.logs import trace_id
from local.broker.events import NotACloudEvent, WireEvent, is_event, read_event
from local.broker.routes import Policy, Route

__all__ = ["Deliverer", "facts"]

#: Seconds that a try may take where no manifest says: the longest that Serving lets a request take.
_DEFAULT_TIMEOUT = 600.0
_MAX_REPLY = 1024 * 1024  # bytes, as of an event that is posted
_MAX_ERROR_DATA = 1024  # characters of base64
_KEEPALIVE = 2.0  # seconds; below the 5 after which uvicorn closes: a POST must not meet a closing connection
_RETRIED = frozenset({404, 408, 409, 429})
_NO_ANSWER = 500  # the code that Knative gives it
_BAD_REPLY = 502
_REFUSED = 400  # what an ingress answers
_REQUIRED = frozenset({"id", "source", "type"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Answer:
    """What one try came to."""

    code: int
    body: bytes = b""
    reply: WireEvent | None = None
    #: Why the Broker does not take the reply; empty: it does, or there is none.
    refusal: str = ""
    #: Whether a dead letter says why. Knative's does not where the dispatcher's own timeout ends a try, nor
    #: of a reply that is no event: its filter, which knows the subscriber, is not there to tell.
    told: bool = True

    @property
    def delivered(self) -> bool:
        return 200 <= self.code < 300

    @property
    def worth_retrying(self) -> bool:
        return self.code in _RETRIED or self.code >= 500


class Deliverer:
    """Posts events. One HTTP client for all."""

    def __init__(self, ingress: str) -> None:
        """`ingress` is the URL below which the Brokers are."""
        self._ingress = ingress.rstrip("/")
        # Each try has its own timeout; a proxy of the environment is none of ours.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=100, keepalive_expiry=_KEEPALIVE
        )
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113  # asyncio.timeout

    async def deliver(self, event: WireEvent, route: Route, hops: int) -> WireEvent | None:
        """Deliver to the route's subscriber or, failing that, its dead letter sink. The reply, if any.

        `hops` replies may follow the event. Never fails: an event that nobody took is logged and given up, as
        on a cluster.
        """
        about = facts(event, route.trigger)
        answer = await self._try_all(event, route.subscriber, route.policy, about, wants_reply=True)
        refusal = answer.refusal or ("no hops are left" if answer.reply and hops <= 0 else "")
        if not answer.delivered:
            await self._give_up(event, route.subscriber, answer, route.policy, about)
            return None
        log.info("delivered", code=answer.code, reply=_reply_type(answer), **about)
        if refusal:
            log.warning("reply_refused", reply=_reply_type(answer), reason=refusal, **about)
            broker = f"{self._ingress}/{route.broker}"
            await self._give_up(event, broker, _Answer(_REFUSED), route.policy, about)
            return None
        return answer.reply

    async def _give_up(
        self, event: WireEvent, url: str, answer: _Answer, policy: Policy, about: dict[str, object]
    ) -> None:
        """Tell the dead letter sink what `url` answered."""
        sink = policy.dead_letters
        if sink is None:
            log.error("event_lost", code=answer.code, reason="there is no dead letter sink", **about)
            return
        letter = _dead_letter(event, url, answer) if answer.told else event
        taken = await self._try_all(letter, sink, policy, about, wants_reply=False)
        if taken.delivered:
            log.warning("dead_letter", code=answer.code, **about)
        else:
            reason = f"the dead letter sink answers {taken.code}"
            log.error("event_lost", code=answer.code, reason=reason, **about)

    async def post(self, event: WireEvent, url: str, timeout: float) -> int:  # noqa: ASYNC109  # a try's
        """Post an event once; the status of the answer, 500 where there was none."""
        return (await self._try(event, url, timeout, wants_reply=False)).code

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _try_all(
        self, event: WireEvent, url: str, policy: Policy, about: dict[str, object], *, wants_reply: bool
    ) -> _Answer:
        failures = 0
        while True:
            answer = await self._try(event, url, policy.timeout or _DEFAULT_TIMEOUT, wants_reply=wants_reply)
            if answer.delivered or not answer.worth_retrying or failures == policy.retry:
                return answer
            failures += 1
            wait = policy.backoff(failures)
            log.warning("retried", code=answer.code, url=url, failures=failures, wait=wait, **about)
            await asyncio.sleep(wait)

    async def _try(self, event: WireEvent, url: str, seconds: float, *, wants_reply: bool) -> _Answer:
        headers = event.headers()
        if wants_reply:
            headers["prefer"] = "reply"
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream("POST", url, content=event.data, headers=headers) as response,
            ):
                body = await _body(response)
        except TimeoutError:
            return _Answer(_NO_ANSWER, f"no answer within {seconds:g} s".encode(), told=False)
        except httpx.HTTPError as error:
            return _no_answer(str(error) or type(error).__name__)
        if not response.is_success or not wants_reply:
            return _Answer(response.status_code, body)
        return _with_reply(response, body)


def facts(event: WireEvent, trigger: str) -> dict[str, object]:
    """What every log line about an event says."""
    attributes = event.attributes
    return {
        "trigger": trigger,
        "id": attributes["id"],
        "type": attributes["type"],
        "subject": attributes.get("subject"),
        "trace": trace_id(attributes.get("traceparent", "")),
    }


async def _body(response: httpx.Response) -> bytes:
    """The body, cut off just behind the limit."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_REPLY:
            break
    return bytes(body[: _MAX_REPLY + 1])


def _no_answer(reason: str) -> _Answer:
    return _Answer(_NO_ANSWER, f"dispatch error: {reason}".encode())


def _with_reply(response: httpx.Response, body: bytes) -> _Answer:
    if len(body) > _MAX_REPLY:
        return _bad_reply(f"the reply is larger than {_MAX_REPLY} bytes")
    if not is_event(response.headers):
        return _bad_reply("it is neither empty nor a CloudEvent") if body else _Answer(response.status_code)
    try:
        return _Answer(response.status_code, reply=read_event(response.headers, body))
    except NotACloudEvent as error:
        lacking = {fault.field for fault in error.errors}
        if lacking <= _REQUIRED:  # Knative reads it, and its ingress refuses it
            return _Answer(response.status_code, refusal=str(error))
        return _bad_reply(f"it is no CloudEvent: {error}")


def _bad_reply(reason: str) -> _Answer:
    return _Answer(_BAD_REPLY, reason.encode("utf-8", "replace"), told=False)


def _dead_letter(event: WireEvent, url: str, answer: _Answer) -> WireEvent:
    return event.with_attributes(
        knativeerrordest=url,
        knativeerrorcode=str(answer.code),
        knativeerrordata=b64encode(answer.body).decode()[:_MAX_ERROR_DATA],
    )


def _reply_type(answer: _Answer) -> str | None:
    return answer.reply.attributes["type"] if answer.reply else None
