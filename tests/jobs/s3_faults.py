"""S3 servers that fail in one way each, and a storage that gives up on them soon."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from jobs.settings import Settings
from jobs.storage import S3VideoStorage

SECRET = "a-wrong-secret-that-nobody-may-see"


def impatient(settings: Settings) -> S3VideoStorage:
    """A storage that gives up soon."""
    return S3VideoStorage(settings, connect_timeout=0.3, read_timeout=0.3, attempts=2)


def calls(storage: S3VideoStorage, key: str) -> list[Callable[[], object]]:
    return [
        lambda: storage.put(key, b"x", "text/plain"),
        lambda: storage.head(key),
        lambda: next(storage.read(key)),
        lambda: list(storage.list("a/")),
        lambda: storage.page("a/", ""),
        lambda: storage.delete_prefix("a/"),
    ]


def refusing(status: int, code: str) -> bytes:
    """An answer of an S3 server that refuses."""
    body = f"<Error><Code>{code}</Code><Message>hidden {SECRET}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} No\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


@contextmanager
def server(answer: bytes, then_hang: bool = False, later: bytes | None = None) -> Iterator[str]:
    """A server that gives each connection this answer and closes it, or keeps it open.

    `later`: the answer to all but the first one.
    """
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            kept, next_answer = [], answer
            while True:
                connection, _ = listener.accept()
                if over.is_set():
                    connection.close()
                    break
                connection.recv(65536)
                connection.sendall(next_answer)
                next_answer = answer if later is None else later
                if then_hang:
                    kept.append(connection)
                else:
                    connection.close()
            for connection in kept:
                connection.close()

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join(10)


@contextmanager
def forwarding(port: int, to: int) -> Iterator[None]:
    """Whatever connects to `port` is connected with the port `to`."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)

    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            inner, _ = listener.accept()
            with inner, socket.create_connection(("127.0.0.1", to)) as outer:
                back = Thread(target=copy, args=(outer, inner), daemon=True)
                back.start()
                copy(inner, outer)

        Thread(target=serve, daemon=True).start()
        yield
