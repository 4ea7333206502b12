"""Every setting of the system, in one frozen object built from an environ argument.

Nothing reads the environment at import. A wrong value raises ConfigurationError, which names the
setting, what was wrong and what is allowed, and never shows a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit

from jobs.errors import ConfigurationError

__all__ = ["DEFAULT_MODEL", "Settings"]

T = TypeVar("T")

DEFAULT_MODEL = "tiny-mochi"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label, as Kubernetes names are


@dataclass(frozen=True)
class Settings:
    """The names are those of the environment variables, in lower case and without `MOCHI_`."""

    redis_url: str = field(default="redis://127.0.0.1:6379/0", repr=False)  # may carry a password
    aws_s3_endpoint: str | None = None  # None: AWS itself
    aws_s3_bucket: str = "videos"
    aws_access_key_id: str = ""
    aws_secret_access_key: str = field(default="", repr=False)
    aws_region: str = "us-east-1"
    s3_public_endpoint: str | None = None  # presigned URLs are signed for it; None: aws_s3_endpoint
    scratch_dir: Path = Path("/tmp/mochi")
    model_name: str = DEFAULT_MODEL  # a hub repository, tiny-mochi, or none (no model, for benchmarks)
    model_dir: Path | None = None  # a diffusers folder; wins over model_name
    hf_token: str | None = field(default=None, repr=False)
    k_sink: str | None = None  # the Broker's URL
    retention_seconds: int = 7 * 86400  # jobs and videos are removed together after it
    backlog_limit: int = 10_000  # pending jobs a queue
    pool: str = "mochi-1"  # the InferenceService
    pool_limit: int = 1  # its credits: pods x slots
    queues: Mapping[str, float] = field(
        default_factory=lambda: {"short-low": 1.0, "long-high": 1.0}
    )  # queue → weight, from the class of short jobs to that of long ones
    pool_grace_seconds: int = 600  # longer than the pool's cold start
    lease_seconds: int = 60  # without a heartbeat the lease ends after it
    presign_seconds: int = 3600  # validity of a presigned URL
    host: str = "0.0.0.0"  # the predictor's  # noqa: S104  # a container's port is reached from outside
    port: int = 8080  # the predictor's; PORT
    grace_seconds: int = 30  # on SIGTERM the job at work may go on for this long
    log_format: str = "auto"  # json | console | auto (console on a terminal)
    log_level: str = "info"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings that are set and not empty. Raises ConfigurationError."""
        default = cls()
        read = _Reader(environ)
        return cls(
            redis_url=read("REDIS_URL", _url("redis", "rediss", "unix"), default.redis_url),
            aws_s3_endpoint=read("AWS_S3_ENDPOINT", _url("http", "https"), None),
            aws_s3_bucket=read("AWS_S3_BUCKET", str, default.aws_s3_bucket),
            aws_access_key_id=read("AWS_ACCESS_KEY_ID", str, ""),
            aws_secret_access_key=read("AWS_SECRET_ACCESS_KEY", str, ""),
            aws_region=read("AWS_REGION", str, default.aws_region),
            s3_public_endpoint=read("MOCHI_S3_PUBLIC_ENDPOINT", _url("http", "https"), None),
            scratch_dir=read("SCRATCH_DIR", Path, default.scratch_dir),
            model_name=read("MODEL_NAME", str, default.model_name),
            model_dir=read("MODEL_DIR", Path, None),
            hf_token=read("HF_TOKEN", str, None),
            k_sink=read("K_SINK", _url("http", "https"), None),
            retention_seconds=read("MOCHI_RETENTION", _duration, default.retention_seconds),
            backlog_limit=read("MOCHI_BACKLOG_LIMIT", _positive, default.backlog_limit),
            pool=read("MOCHI_POOL", _name, default.pool),
            pool_limit=read("MOCHI_POOL_LIMIT", _positive, default.pool_limit),
            queues=read("MOCHI_QUEUES", _queues, default.queues),
            pool_grace_seconds=read("MOCHI_POOL_GRACE_SECONDS", _duration, default.pool_grace_seconds),
            lease_seconds=read("MOCHI_LEASE_SECONDS", _duration, default.lease_seconds),
            presign_seconds=read("MOCHI_PRESIGN_SECONDS", _duration, default.presign_seconds),
            host=read("MOCHI_HOST", str, default.host),
            port=read("PORT", _positive, default.port),
            grace_seconds=read("MOCHI_GRACE_SECONDS", _duration, default.grace_seconds),
            log_format=read("MOCHI_LOG_FORMAT", _one_of("auto", "json", "console"), default.log_format),
            log_level=read(
                "MOCHI_LOG_LEVEL", _one_of("debug", "info", "warning", "error"), default.log_level
            ),
        )


@dataclass(frozen=True)
class _Reader:
    environ: Mapping[str, str]

    def __call__(self, name: str, parse: Callable[[str], T], default: T | None) -> T:
        text = self.environ.get(name, "").strip()
        if not text:
            return default  # type: ignore[return-value]  # None only where the field allows it
        try:
            return parse(text)
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from None


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"{text!r} is not allowed; a whole number from 1 on is")
    return int(text)


def _duration(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhd]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; 90, 90s, 15m, 12h and 7d are")
    return int(match[1]) * _UNITS[match[2]]


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name; lower-case letters, digits and inner hyphens are allowed")
    return text


def _queues(text: str) -> Mapping[str, float]:
    queues: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        if not _NAME.fullmatch(name) or not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", weight or "1"):
            raise ValueError(f"{part!r} is not NAME or NAME:WEIGHT, e.g. short-low:2,long-high:1")
        queues[name] = float(weight or 1)
    if not all(queues.values()):
        raise ValueError("a weight of 0 is not allowed; weights are above 0")
    return queues


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not allowed; {', '.join(allowed)} are")
        return text

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        # The text may hold a password: it is not repeated in the error.
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"not a URL of the kind {' or '.join(s + '://…' for s in schemes)}")
        return text

    return parse
