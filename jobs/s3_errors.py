"""What the errors of boto3 mean to us. Their own texts never get out: they may hold URLs and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from jobs.errors import ConfigurationError, StorageUnavailable

__all__ = ["error_code", "misconfigured", "storage_errors"]

_KEY_CODES = {
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID: the object store does not know this key",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY: it is not the secret of this AWS_ACCESS_KEY_ID",
    "ExpiredToken": "AWS_ACCESS_KEY_ID: these credentials have expired",
    "InvalidToken": "AWS_ACCESS_KEY_ID: the object store does not take these credentials",
}
_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301"}
)


def error_code(error: BaseException) -> str:
    """The code of an S3 error, e.g. `NoSuchKey`, or the status where an answer had no body; else empty."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn any error of boto3 into StorageUnavailable. `where` names the store, for people."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        _raise_unavailable(where, error)


def _raise_unavailable(where: str, error: Exception) -> NoReturn:
    from botocore.exceptions import (
        ConnectionError as NoConnection,
    )
    from botocore.exceptions import (
        ConnectTimeoutError,
        NoCredentialsError,
        PartialCredentialsError,
        ReadTimeoutError,
    )

    code = error_code(error)
    match error:
        case _ if code:
            message = f"the object store {where} refused: {code}"
        case ConnectTimeoutError() | ReadTimeoutError():
            message = f"the object store {where} did not answer in time"
        case NoCredentialsError() | PartialCredentialsError():
            message = f"there are no credentials for the object store {where}"
        case NoConnection():
            message = f"the object store {where} cannot be reached"
        case _:
            message = f"the object store {where} failed ({type(error).__name__})"
    # Not chained: a log of this error would show the text of the other.
    raise StorageUnavailable(message) from None


def misconfigured(error: Exception, bucket: str, region: str) -> ConfigurationError | None:
    """The setting that is wrong, where this error of boto3 comes from one; else None."""
    from botocore.exceptions import NoCredentialsError, ParamValidationError, PartialCredentialsError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ConfigurationError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: both are needed")
    if isinstance(error, ParamValidationError) or error_code(error) == "InvalidBucketName":
        return ConfigurationError(f"AWS_S3_BUCKET: {bucket!r} is no name of a bucket")
    return _refused(error, bucket, region)


def _refused(error: Exception, bucket: str, region: str) -> ConfigurationError | None:
    code = error_code(error)
    if code in _KEY_CODES:
        return ConfigurationError(_KEY_CODES[code])
    if code in _REGION_CODES:
        return ConfigurationError(f"AWS_REGION: the bucket {bucket!r} is not in {region!r}")
    if code == "RequestTimeTooSkewed":
        return ConfigurationError("the clock of this machine differs too much from the object store's")
    if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        return ConfigurationError(f"AWS_S3_BUCKET: {bucket!r} belongs to somebody else")
    response = getattr(error, "response", None) or {}
    if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403):
        return ConfigurationError(
            f"AWS_S3_BUCKET: the object store refuses ({code}) to let this AWS_ACCESS_KEY_ID use the bucket "
            f"{bucket!r}: check it, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return None
