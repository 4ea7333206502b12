"""How the text of a setting becomes its value. Each raises ValueError, which says what is allowed.

A text that may hold a secret is never repeated in an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

__all__ = [
    "bucket",
    "dns_label",
    "duration",
    "endpoint",
    "host",
    "model_name",
    "one_of",
    "path",
    "port",
    "positive",
    "presign",
    "queues",
    "secret",
    "token",
    "url",
    "with_password",
]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label, as Kubernetes names are
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MODEL = re.compile(r"(hf://)?([\w.-]+/)?[\w.-]+", re.ASCII)
_LONGEST = 3650 * 86400  # seconds: in microseconds since the epoch it stays far below 2^53
_WEEK = 7 * 86400  # seconds; a signature of S3 is valid no longer


def positive(text: str) -> int:
    """A whole number from 1 on, of at most nine digits."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError(f"{text[:40]!r} is not allowed; a whole number from 1 to 999999999 is")
    return int(text)


def port(text: str) -> int:
    """A TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text[:40]!r} is no port; 1 to 65535 are")
    return int(text)


def duration(text: str) -> int:
    """Seconds, from a number with or without a unit."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{text[:40]!r} is no duration; 90, 90s, 15m, 12h and 7d are, up to 3650d")
    return seconds


def presign(text: str) -> int:
    """Seconds that a presigned URL can be valid."""
    seconds = duration(text)
    if seconds > _WEEK:
        raise ValueError(f"{text!r} is too long; a presigned URL is valid for 7d at most")
    return seconds


def dns_label(text: str) -> str:
    """A name as Kubernetes has them."""
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is not a name; at most 63 lower-case letters, digits and inner hyphens are"
        )
    return text


def bucket(text: str) -> str:
    """A name of an S3 bucket."""
    if not _BUCKET.fullmatch(text) or ".." in text:
        raise ValueError(
            f"{text[:80]!r} is no name of a bucket; 3 to 63 lower-case letters, digits, hyphens and dots are"
        )
    return text


def model_name(text: str) -> str:
    """NAME or OWNER/NAME, with or without hf:// before it."""
    if not _MODEL.fullmatch(text) or ".." in text:
        raise ValueError(f"{text[:80]!r} is no model; tiny-mochi, none, NAME and OWNER/NAME are")
    return text


def token(text: str) -> str:
    """A key or a token: what fits into an HTTP header without quotes."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError(
            "holds a space, a line end or a character that is not ASCII; none of them is allowed"
        )
    return text


def secret(text: str) -> str:
    """A secret that is only calculated with."""
    if not text.isprintable():
        raise ValueError("holds a line end or another character that does not print; none is allowed")
    return text


def path(text: str) -> Path:
    """A path; `~` is the home folder."""
    if "\0" in text:
        raise ValueError("holds a NUL character, which no path has")
    return Path(text).expanduser()


def host(text: str) -> str:
    """A host name or an IP address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[\w]+)?", text):
        raise ValueError(f"{text[:80]!r} is no host; a name or an IP address without a port is")
    return text


def queues(text: str) -> Mapping[str, float]:
    """Queue to weight, in the order given: from the class of short jobs to that of long ones."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, weight = part.strip().partition(":")
        if not _LABEL.fullmatch(name) or not re.fullmatch(
            r"[0-9]{1,6}(\.[0-9]{1,6})?", weight if colon else "1"
        ):
            raise ValueError(f"{part[:80]!r} is not NAME or NAME:WEIGHT, e.g. short-low:2,long-high:1")
        if name in weights:
            raise ValueError(f"the queue {name!r} is named twice; once is allowed")
        weights[name] = float(weight) if colon else 1.0
    if not all(weights.values()):
        raise ValueError("a weight of 0 is not allowed; weights are above 0")
    return weights


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text[:40]!r} is not allowed; {', '.join(allowed)} are")
        return text

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """A URL of one of these schemes, with a host (a path for `unix`)."""

    def parse(text: str) -> str:
        _split(text, schemes)
        return text

    return parse


def with_password(url: str, password: str) -> str:
    """The URL with this password, where it has none: a URL is no secret, and its password is one."""
    parts = urlsplit(url)
    if not password or parts.password is not None:
        return url
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


def endpoint(text: str) -> str:
    """The URL of an S3 server: no user, query or fragment, all of which a signature has no place for."""
    parts = _split(text, ("http", "https"))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("holds a user, a query or a fragment; only http(s)://HOST:PORT/PATH is allowed")
    return text.rstrip("/")


def _split(text: str, schemes: tuple[str, ...]) -> SplitResult:
    wrong = ValueError(f"not a URL of the kind {' or '.join(s + '://…' for s in schemes)}")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise wrong
    try:
        parts = urlsplit(text)
        place = parts.path if parts.scheme == "unix" else parts.hostname
        number = parts.port
    except ValueError:
        raise wrong from None  # the text of that error shows parts of the URL
    if parts.scheme not in schemes or not place or number == 0:
        raise wrong
    return parts
