"""Every setting of the system, in one frozen object built from an environ argument.

Nothing reads the environment at import. A wrong value raises ConfigurationError, which names the
setting, what was wrong and what is allowed, and never shows a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from jobs.errors import ConfigurationError
from jobs.setting_values import (
    bucket,
    dns_label,
    duration,
    endpoint,
    host,
    model_name,
    one_of,
    path,
    port,
    positive,
    presign,
    queues,
    secret,
    token,
    url,
    with_password,
)

__all__ = ["DEFAULT_MODEL", "Settings"]

T = TypeVar("T")

DEFAULT_MODEL = "tiny-mochi"


@dataclass(frozen=True)
class Settings:
    """The names are those of the environment variables, in lower case and without `MOCHI_`."""

    redis_url: str = field(default="redis://127.0.0.1:6379/0", repr=False)  # may carry a password
    aws_s3_endpoint: str | None = None  # None: AWS itself
    aws_s3_bucket: str = "videos"
    aws_access_key_id: str = ""
    aws_secret_access_key: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)  # of credentials that are valid for a while
    aws_region: str = "us-east-1"
    s3_public_endpoint: str | None = None  # presigned URLs are signed for it; None: aws_s3_endpoint
    scratch_dir: Path = Path("/tmp/mochi")  # noqa: S108  # whoever works on a job next can do without it
    model_name: str = DEFAULT_MODEL  # a hub repository, tiny-mochi, or none (no model, for benchmarks)
    model_dir: Path | None = None  # a diffusers folder; wins over model_name
    hf_token: str | None = field(default=None, repr=False)
    k_sink: str | None = field(default=None, repr=False)  # the Broker's URL; may carry a password
    retention_seconds: int = 7 * 86400  # jobs and videos are removed together after it
    backlog_limit: int = 10_000  # pending jobs a queue
    pool: str = "mochi-1"  # the InferenceService
    pool_limit: int = 1  # its credits: pods x slots
    queues: Mapping[str, float] = field(
        default_factory=lambda: {"short-low": 1.0, "long-high": 1.0}
    )  # queue → weight, from the class of short jobs to that of long ones
    pool_grace_seconds: int = 600  # longer than the pool's cold start
    lease_seconds: int = 60  # without a heartbeat the lease ends after it
    slice_seconds: int = 240  # that one delivery may work, from its event's time on
    checkpoint_seconds: int = 30  # of denoising between two checkpoints
    presign_seconds: int = 3600  # validity of a presigned URL
    host: str = "0.0.0.0"  # the predictor's  # noqa: S104  # a container's port is reached from outside
    port: int = 8080  # the predictor's; PORT
    grace_seconds: int = 30  # on SIGTERM a phase without steps may go on for this long
    log_format: str = "auto"  # json | console | auto (console on a terminal)
    log_level: str = "info"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings that are set and not empty. Raises ConfigurationError."""
        default = cls()
        read = _Reader(environ)
        return cls(
            redis_url=with_password(
                read("REDIS_URL", url("redis", "rediss", "unix"), default.redis_url),
                read("REDIS_PASSWORD", secret, ""),
            ),
            aws_s3_endpoint=read("AWS_S3_ENDPOINT", endpoint, None),
            aws_s3_bucket=read("AWS_S3_BUCKET", bucket, default.aws_s3_bucket),
            aws_access_key_id=read("AWS_ACCESS_KEY_ID", token, ""),
            aws_secret_access_key=read("AWS_SECRET_ACCESS_KEY", secret, ""),
            aws_session_token=read("AWS_SESSION_TOKEN", token, ""),
            aws_region=read("AWS_REGION", dns_label, default.aws_region),
            s3_public_endpoint=read("MOCHI_S3_PUBLIC_ENDPOINT", endpoint, None),
            scratch_dir=read("SCRATCH_DIR", path, default.scratch_dir),
            model_name=read("MODEL_NAME", model_name, default.model_name),
            model_dir=read("MODEL_DIR", path, None),
            hf_token=read("HF_TOKEN", token, None),
            k_sink=read("K_SINK", url("http", "https"), None),
            retention_seconds=read("MOCHI_RETENTION", duration, default.retention_seconds),
            backlog_limit=read("MOCHI_BACKLOG_LIMIT", positive, default.backlog_limit),
            pool=read("MOCHI_POOL", dns_label, default.pool),
            pool_limit=read("MOCHI_POOL_LIMIT", positive, default.pool_limit),
            queues=read("MOCHI_QUEUES", queues, default.queues),
            pool_grace_seconds=read("MOCHI_POOL_GRACE_SECONDS", duration, default.pool_grace_seconds),
            lease_seconds=read("MOCHI_LEASE_SECONDS", duration, default.lease_seconds),
            slice_seconds=read("MOCHI_SLICE_SECONDS", duration, default.slice_seconds),
            checkpoint_seconds=read("MOCHI_CHECKPOINT_SECONDS", duration, default.checkpoint_seconds),
            presign_seconds=read("MOCHI_PRESIGN_SECONDS", presign, default.presign_seconds),
            host=read("MOCHI_HOST", host, default.host),
            port=read("PORT", port, default.port),
            grace_seconds=read("MOCHI_GRACE_SECONDS", duration, default.grace_seconds),
            log_format=read("MOCHI_LOG_FORMAT", one_of("auto", "json", "console"), default.log_format),
            log_level=read("MOCHI_LOG_LEVEL", one_of("debug", "info", "warning", "error"), default.log_level),
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
