"""A real HTTP server with scripted answers, for what only a real connection shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Answer", "FakeServer", "Seen", "dead_url", "fake_server", "json_answer", "ranged", "stream"]


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    target: str  # path and query
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> object:
        decoded: object = json.loads(self.body)
        return decoded


@dataclass(frozen=True)
class Answer:
    """An answer. Without a content-length its end is the end of the connection."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None  # the connection ends after so many bytes of the body
    hold: threading.Event | None = None  # the connection stays open until it is set


Script = Answer | Callable[[Seen], Answer]


def json_answer(data: object, status: int = 200, **headers: str) -> Answer:
    kind = "application/problem+json" if status >= 400 else "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(data).encode()
    return Answer(status, {"content-type": kind, "content-length": str(len(body)), **named}, body)


def stream(*events: bytes, hold: threading.Event | None = None) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, b"".join(events), hold=hold)


def ranged(
    content: bytes, etag: str = "", cut: int | None = None, **headers: str
) -> Callable[[Seen], Answer]:
    """A file as an object store serves it, ranges included; `cut` ends each connection early."""

    def answer(seen: Seen) -> Answer:
        first = int(seen.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body = content[first:]
        found = {"content-type": "video/mp4", "content-length": str(len(body)), "etag": f'"{etag}"'}
        found |= {name.replace("_", "-"): value for name, value in headers.items()}
        if "range" in seen.headers:
            found["content-range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return Answer(206 if "range" in seen.headers else 200, found, body, cut)

    return answer


@dataclass
class FakeServer:
    """`on` says what a path answers: each answer once, the last one for ever."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on(self, route: str, *answers: Script) -> None:
        """`route` is `METHOD /path`, without the query."""
        self.scripts[route] = list(answers)

    def asked(self, route: str) -> list[Seen]:
        with self.changed:
            return [s for s in self.seen if f"{s.method} {s.target.partition('?')[0]}" == route]

    def wait_for(self, route: str, count: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked_now(route)) >= count, 20), self.seen

    def asked_now(self, route: str) -> list[Seen]:
        return [s for s in self.seen if f"{s.method} {s.target.partition('?')[0]}" == route]

    def answer(self, seen: Seen) -> Answer:
        route = f"{seen.method} {seen.target.partition('?')[0]}"
        with self.changed:
            self.seen.append(seen)
            self.changed.notify_all()
            scripts = self.scripts.get(route)
            if scripts is None:
                return Answer(404, {"content-length": "0"})
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Answer) else script(seen)


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with suppress(OSError):  # the client may leave when it likes
                self._send(fake.answer(Seen(self.command, self.path, headers, body)))

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.cut is not None or "content-length" not in answer.headers:
                self.close_connection = True
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            self.wfile.flush()
            if answer.hold is not None:
                answer.hold.wait(30)

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            pass  # a client that leaves is none

    server = Server(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dead_url() -> str:
    """Where nobody listens: the discard port, which a connection to loopback refuses at once."""
    return "http://127.0.0.1:9"
