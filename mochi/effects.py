"""What the client's programs ask of the outside, as values.

A program (in `mochi.calls`, `mochi.watching` and `mochi.downloading`) is a generator that yields effects
and is sent what came of them. It holds all the logic; `Client` and `AsyncClient` only perform effects, so
there is one implementation for both. No I/O here.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar, cast

from mochi.errors import Unreachable

__all__ = [
    "Answer",
    "Done",
    "Effect",
    "Emit",
    "Open",
    "Pause",
    "Program",
    "Read",
    "Reply",
    "Request",
    "Send",
    "Step",
    "advance",
    "read",
    "reply_to",
]

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True)
class Request:
    """An HTTP request, whole: nothing is added to it but what HTTP itself needs."""

    method: str
    url: str  # absolute
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold credentials
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """An HTTP response. Header names are in lower case; `body` is empty for `Open`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Send:
    """Send and take the whole response: a Reply, or Unreachable."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send and take the head of the response: a Reply, or Unreachable. Closes what was open before."""

    request: Request
    idle: float  # seconds without a byte after which the connection counts as dead


@dataclass(frozen=True)
class Read:
    """The next bytes of what is open (bytes, empty at its end), or Unreachable."""


@dataclass(frozen=True)
class Pause:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[E]):
    """Hand a value to the caller of an iterating method."""

    value: E


@dataclass(frozen=True)
class Done(Generic[T]):
    """The program has returned."""

    value: T


Effect: TypeAlias = Send | Open | Read | Pause
Answer: TypeAlias = Reply | bytes | Unreachable | None
Program: TypeAlias = Generator[Effect | Emit[E], Answer, T]
Step: TypeAlias = Effect | Emit[E] | Done[T]


def advance(program: Program[E, T], answer: Answer = None) -> Step[E, T]:
    """Run a program to its next effect."""
    try:
        return program.send(answer)
    except StopIteration as stop:
        return Done(cast(T, stop.value))


def reply_to(effect: Send | Open) -> Generator[Effect, Answer, Reply]:
    """Perform a request. Raises Unreachable."""
    answer = yield effect
    if isinstance(answer, Unreachable):
        raise answer
    return cast(Reply, answer)


def read() -> Generator[Effect, Answer, bytes]:
    """Perform a Read. Raises Unreachable."""
    answer = yield Read()
    if isinstance(answer, Unreachable):
        raise answer
    return cast(bytes, answer)
