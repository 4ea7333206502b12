"""Videos on an S3 server, by boto3: MinIO, SeaweedFS, AWS, any.

Its clients are made once and used by many threads (boto3's clients may be, its sessions may not).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jobs.errors import StorageUnavailable
from jobs.s3_client import s3_client, store_name
from jobs.s3_errors import error_code, misconfigured, storage_errors
from jobs.settings import Settings
from jobs.video_storage import StoredObject, attachment, checked_expiry, checked_folder, checked_range

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

__all__ = ["S3VideoStorage"]

_CHUNK = 256 * 1024  # bytes of one chunk of `read`
_BATCH = 1000  # keys that S3 deletes in one request, at most
_BUCKET_IS_THERE = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "OperationAborted"})
_MULTIPART_FROM = 64 * 1024 * 1024  # bytes; a smaller file is one request


class S3VideoStorage:
    """A VideoStorage in the bucket of the settings.

    `connect_timeout` and `read_timeout` are seconds and hold for each attempt; between attempts boto3
    waits for up to some seconds. Making it takes some 0.3 s, and does not ask the server anything.
    Raises ConfigurationError for an endpoint that is none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connect_timeout: float = 3,
        read_timeout: float = 15,
        attempts: int = 3,
        multipart_from: int = _MULTIPART_FROM,
    ) -> None:
        self._bucket = settings.aws_s3_bucket
        self._region = settings.aws_region
        self._multipart_from = multipart_from
        self._where = store_name(settings)
        inner, outer = settings.aws_s3_endpoint, settings.s3_public_endpoint or settings.aws_s3_endpoint
        limits: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
            "retries": {"mode": "standard", "total_max_attempts": attempts},
        }
        self._client = s3_client(settings, inner, limits)
        # URLs are signed for those outside, who reach the server under another name.
        self._public = self._client if outer == inner else s3_client(settings, outer, limits)

    def check(self) -> None:
        """Use the bucket by a signed call, and create it where it is missing.

        Raises ConfigurationError for wrong credentials or a bucket that is not ours.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        with storage_errors(self._where):
            try:
                self._check()
            except (BotoCoreError, ClientError) as error:
                wrong = misconfigured(error, self._bucket, self._region)
                if wrong is None:
                    raise
                raise wrong from None

    def _check(self) -> None:
        from botocore.exceptions import ClientError

        # Listing is what tells: it is signed, and, other than a HEAD, its refusal has a code.
        try:
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise
            self._create_bucket()
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)

    def _create_bucket(self) -> None:
        from botocore.exceptions import ClientError

        # AWS wants no constraint for its first region, and one for each other.
        place: Any = (
            {}
            if self._region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        )
        try:
            self._client.create_bucket(Bucket=self._bucket, **place)
        except ClientError as error:
            # Another process of ours was first, or it is not ours: the listing after this tells.
            if error_code(error) not in _BUCKET_IS_THERE:
                raise

    def put(self, key: str, source: Path | bytes, content_type: str) -> StoredObject:
        """Upload; the object is whole or absent. An OSError of the file itself is raised as it is."""
        with storage_errors(self._where):
            if isinstance(source, bytes):
                return self._put(key, source, len(source), content_type)
            size = source.stat().st_size
            if size >= self._multipart_from:
                return self._put_large(key, source, size, content_type)
            with source.open("rb") as file:
                return self._put(key, file, size, content_type)

    def _put(self, key: str, body: bytes | BinaryIO, size: int, content_type: str) -> StoredObject:
        answer = self._client.put_object(
            Bucket=self._bucket, Key=key, Body=body, ContentLength=size, ContentType=content_type
        )
        return self._stored(key, answer["ETag"], size)

    def _put_large(self, key: str, source: Path, size: int, content_type: str) -> StoredObject:
        from boto3.s3.transfer import TransferConfig

        part = max(8 * 1024 * 1024, size // 9_000)  # S3 takes 10,000 parts
        config = TransferConfig(
            multipart_threshold=self._multipart_from, multipart_chunksize=part, max_concurrency=4
        )
        self._client.upload_file(
            str(source), self._bucket, key, ExtraArgs={"ContentType": content_type}, Config=config
        )
        stored = self.head(key)
        if stored is None or stored.bytes != size:
            raise StorageUnavailable(f"the object store {self._where} did not keep the object whole")
        return stored

    def head(self, key: str) -> StoredObject | None:
        """The object, or None where there is none."""
        from botocore.exceptions import ClientError

        with storage_errors(self._where):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in ("404", "NoSuchKey"):
                    return None
                raise
        return self._stored(key, answer["ETag"], answer["ContentLength"], answer["LastModified"])

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (inclusive), in chunks."""
        holds_any = checked_range(start, end)
        with storage_errors(self._where):
            answer = self._opened(key, start, end if holds_any else start)
            if answer is None:
                return
            with closing(answer["Body"]) as body:
                if holds_any:
                    yield from body.iter_chunks(_CHUNK)

    def _opened(self, key: str, start: int, end: int | None) -> GetObjectOutputTypeDef | None:
        """The answer whose body is the range, or None where the range begins behind the object's end."""
        from botocore.exceptions import ClientError

        whole = start == 0 and end is None
        asked: Any = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end}"}
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **asked)
        except ClientError as error:
            match error_code(error):
                case "NoSuchKey":
                    raise KeyError(key) from None
                case "InvalidRange" | "416":
                    return None
            raise
        if not whole and "ContentRange" not in answer:
            answer["Body"].close()
            raise StorageUnavailable(f"the object store {self._where} does not do ranges")
        return answer

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object below `prefix`; how many there were."""
        keys = [stored.key for stored in self.list(checked_folder(prefix))]
        for at in range(0, len(keys), _BATCH):
            self._delete(keys[at : at + _BATCH])
        return len(keys)

    def _delete(self, keys: Sequence[str]) -> None:
        with storage_errors(self._where):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        if errors := answer.get("Errors"):
            code = errors[0].get("Code", "unknown")
            raise StorageUnavailable(
                f"the object store {self._where} kept {len(errors)} of {len(keys)} objects: {code}"
            )

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins with `prefix`."""
        return self._listed(prefix)

    def page(self, folder: str, after: str, limit: int = 1000) -> Sequence[StoredObject]:
        """Objects below a folder, from behind a key on."""
        # One answer may hold fewer than it was asked for, although there are more.
        paging = {"MaxItems": limit, "PageSize": limit}
        return [*self._listed(checked_folder(folder), StartAfter=after, PaginationConfig=paging)]

    def _listed(self, prefix: str, **asked: Any) -> Iterator[StoredObject]:  # noqa: ANN401  # the client's own
        pages = self._client.get_paginator("list_objects_v2")
        with storage_errors(self._where):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, **asked):
                for found in page.get("Contents", []):
                    yield self._stored(found["Key"], found["ETag"], found["Size"], found["LastModified"])

    def presign(self, key: str, expires: int, filename: str | None = None) -> str:
        """A URL, signed for the public endpoint, that gets the object for `expires` seconds."""
        params = {"Bucket": self._bucket, "Key": key}
        if filename is not None:
            params["ResponseContentDisposition"] = attachment(filename)
        with storage_errors(self._where):
            return self._public.generate_presigned_url(
                "get_object", Params=params, ExpiresIn=checked_expiry(expires)
            )

    def _stored(self, key: str, etag: str, size: int, modified: datetime | None = None) -> StoredObject:
        return StoredObject(key, f"s3://{self._bucket}/{key}", etag.strip('"'), size, modified)
