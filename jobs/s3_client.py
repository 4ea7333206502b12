"""The boto3 client of an S3 server, by our settings: signature, addressing, connections, proxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobs.errors import ConfigurationError
from jobs.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["s3_client", "store_name"]

_CONNECTIONS = 64  # more than the threads of any event loop's pool
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def s3_client(settings: Settings, endpoint: str | None, limits: Mapping[str, Any]) -> S3Client:
    """A client with the settings' credentials; `limits` are botocore's names of timeouts and retries.

    It asks the server nothing. Raises ConfigurationError for settings that make no client.
    """
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        # Without keys of ours, boto3 looks for those of the machine (a role, say).
        session = Session(
            aws_access_key_id=settings.aws_access_key_id or None,
            aws_secret_access_key=settings.aws_secret_access_key or None,
            aws_session_token=settings.aws_session_token or None,
            region_name=settings.aws_region,
        )
        config = Config(**_options(endpoint), **limits)
        return session.client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        # No text of theirs: it may hold a URL with a password.
        raise ConfigurationError(
            f"they make no client of an object store ({type(error).__name__}): check AWS_S3_ENDPOINT, "
            "MOCHI_S3_PUBLIC_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None


def _options(endpoint: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path"},
        "max_pool_connections": _CONNECTIONS,
        # An endpoint comes from our settings, not from the machine's.
        "ignore_configured_endpoint_urls": True,
        # Checksums in trailers are beyond many S3 servers, and the signature covers the body anyway.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK:
        options["proxies"] = {}  # no proxy of the environment leads to this machine itself
    return options


def store_name(settings: Settings) -> str:
    """The object store's place, for people: host and port only, since an endpoint may hold a password."""
    if settings.aws_s3_endpoint is None:
        return "of AWS"
    return f"at {urlsplit(settings.aws_s3_endpoint).netloc.rpartition('@')[2]}"
