"""A parser of server-sent events: bytes in, messages out. No I/O, no reconnecting, no JSON.

It follows "Parsing an event stream" and "Interpreting an event stream" of the HTML standard
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from mochi.errors import UnexpectedAnswer

__all__ = ["Message", "SseParser"]

#: Characters of one event, or of one line, of which a job takes some 15,000: a line without end is not ours.
LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Message:
    """One event: its name (`message` where the stream gave none), its data, and the last id seen."""

    event: str
    data: str
    id: str


class SseParser:
    """Feed it chunks as they come, cut anywhere. One parser serves one connection."""

    def __init__(self, last_event_id: str = "") -> None:
        #: What a reconnection sends as `Last-Event-ID`; only complete events move it.
        self.last_event_id = last_event_id
        #: Milliseconds to wait before reconnecting, where the stream said so.
        self.retry_ms: int | None = None
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._started = False
        self._after_cr = False
        self._line = ""
        self._id = last_event_id
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that this chunk completes. Raises UnexpectedAnswer for an event without end."""
        for line in self._lines(self._decode(chunk)):
            message = self._take(line)
            if message is not None:
                yield message

    def _lines(self, text: str) -> Iterator[str]:
        if text and not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            text = text.removeprefix("\n")  # the second half of a CRLF that a chunk's end cut in two
            self._after_cr = False
        if text.endswith("\r"):
            self._after_cr = True
        # Not splitlines(): it also splits at characters that are data here (U+2028, form feed and more).
        *ended, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in ended:
            whole, self._line = self._line + line, ""
            yield whole
        self._line += rest
        if len(self._line) > LIMIT:
            raise UnexpectedAnswer(f"the event stream holds a line of more than {LIMIT} characters")

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")  # a comment is a field with an empty name
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._size += len(value) + 1
                if self._size > LIMIT:
                    raise UnexpectedAnswer(f"the event stream holds an event of more than {LIMIT} characters")
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value[:9])
        return None

    def _dispatch(self) -> Message | None:
        self.last_event_id = self._id
        name, data = self._event, self._data
        self._event, self._data, self._size = "", [], 0
        return Message(name or "message", "\n".join(data), self._id) if data else None
