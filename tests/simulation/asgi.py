"""Posts CloudEvents to ASGI apps, as the Broker does over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from eventing.codec import decode, encode
from eventing.events import Event

__all__ = ["Answer", "post"]


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def event(self) -> Event | None:
        """The reply, if it is one."""
        return decode(self.headers, self.body) if self.status == 200 and self.body else None


async def post(app: ASGIApp, path: str, event: Event | None, gone: asyncio.Event) -> Answer:
    """Post an event, or nothing. Once `gone` is set, the app sees that the connection is."""
    headers, body = encode(event) if event is not None else ({}, b"")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    asked = False
    answer = Answer()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await gone.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
