"""HTTP/1.1 that stays HTTP/1.1: a request that offers another protocol is answered as if it had not.

Java's HttpClient and `curl --http2` offer HTTP/2 with their first request, and a server may pass that over
(RFC 9110, 7.8). httptools takes the body of such a request for the other protocol's. So the request's head is
parsed once more, without the offer, and then its body. Knows no app.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

__all__ = ["PlainHttp"]

_OFFER = frozenset({b"upgrade", b"http2-settings"})


class PlainHttp(HttpToolsProtocol):
    """uvicorn's protocol on httptools, without upgrades. Requests that offer none cost nothing more."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._new_parser()

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is to be read again."""
        if not self.offers():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body is whole."""
        if not self.offers():
            super().on_message_complete()

    def offers(self) -> bool:
        """Whether the request at hand offers another protocol. CONNECT, which is one, is left to uvicorn."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def without_offer(self) -> bytes:
        """The head of the request at hand without its offer, for the new parser that reads it."""
        version = self.parser.get_http_version().encode()
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _OFFER]
                head += [b"connection: ", b",".join(kept), b"\r\n"] if kept else []
            elif name not in _OFFER:
                head += [name, b": ", value, b"\r\n"]
        self._new_parser()
        return b"".join([*head, b"\r\n"])

    def _new_parser(self) -> None:
        self.parser = _Parser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does


class _Parser(httptools.HttpRequestParser):
    def __init__(self, protocol: PlainHttp) -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn feeds bytes
        parser: httptools.HttpRequestParser = self
        while True:  # a client may send many such requests at once, more than calls can be nested
            try:
                httptools.HttpRequestParser.feed_data(parser, data)
            except httptools.HttpParserUpgrade as offer:
                if not self._protocol.offers():
                    raise
                data = self._protocol.without_offer() + data[offer.args[0] :]
                parser = self._protocol.parser
            else:
                return
