"""An HTTP server that records what it is posted and answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

__all__ = ["PROBE", "Answer", "Recorder", "Request", "event_answer"]

#: The id of events that only try whether a path is reached.
PROBE = "probe"

WAIT = 60.0  # seconds until a test gives up; a cluster may be busy with other things


@dataclass(frozen=True)
class Answer:
    """What a request is answered."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    gate: threading.Event | None = None  # the answer waits for it


@dataclass(frozen=True)
class Request:
    """What was posted."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["ce-id"]


def event_answer(type_: str, **extensions: str) -> Answer:
    """A reply: a CloudEvent of this type."""
    attributes = {"specversion": "1.0", "id": "reply", "source": "/recorder", "type": type_, **extensions}
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    return Answer(200, headers | {"content-type": "application/json"}, b'{"re":"ply"}')


class Recorder:
    """Listens from its making to `close`: on loopback, or where a cluster's pods reach it."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
        self._changed = threading.Condition()
        self._received: list[Request] = []
        self._answers: dict[str, tuple[Answer, ...]] = {}  # by path
        self._probed: set[str] = set()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = recorder._take(Request(self.path, headers, body))
                if answer.gate is not None:
                    answer.gate.wait(WAIT)
                try:
                    self._answer(answer)
                except OSError:
                    self.close_connection = True  # nobody waits for the answer any more

            def _answer(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self._server.server_port}{path}"

    def answer(self, path: str, *answers: Answer) -> None:
        """Answer requests to the path with these in turn, and from then on with the last of them."""
        with self._changed:
            self._answers[path] = answers

    def received(self, path: str) -> list[Request]:
        with self._changed:
            return [r for r in self._received if r.path == path]

    def wait(self, path: str, count: int = 1) -> list[Request]:
        """What came to the path, once `count` requests have."""
        return self.wait_until(path, lambda requests: len(requests) >= count)

    def wait_until(self, path: str, enough: Callable[[list[Request]], bool]) -> list[Request]:
        deadline = time.monotonic() + WAIT
        with self._changed:
            while not enough(found := [r for r in self._received if r.path == path]):
                left = deadline - time.monotonic()
                assert left > 0, f"{path}: only {len(found)} requests came"
                self._changed.wait(left)
            return found

    def probed(self) -> frozenset[str]:
        """The paths that a probe has come to. No other method tells of probes."""
        with self._changed:
            return frozenset(self._probed)

    def _take(self, request: Request) -> Answer:
        with self._changed:
            if request.headers.get("ce-id") == PROBE:
                self._probed.add(request.path)
                return Answer()
            self._received.append(request)
            self._changed.notify_all()
            count = sum(r.path == request.path for r in self._received)
            answers = self._answers.get(request.path, (Answer(),))
            return answers[min(count, len(answers)) - 1]
