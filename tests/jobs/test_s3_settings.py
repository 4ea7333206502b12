"""Settings of the S3 storage that are wrong: each is named, and no secret is shown."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.errors import ConfigurationError, StorageUnavailable
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from tests.jobs.s3_faults import SECRET, calls, impatient, refusing, server


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"aws_secret_access_key": SECRET}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_access_key_id": "nobody"}, "AWS_ACCESS_KEY_ID"),
        ({"aws_access_key_id": "nobody", "aws_secret_access_key": SECRET}, "AWS_ACCESS_KEY_ID"),
        ({"aws_secret_access_key": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_s3_bucket": "Not A Bucket"}, "AWS_S3_BUCKET"),
        ({"aws_s3_bucket": "a"}, "AWS_S3_BUCKET"),
    ],
)
def test_check_names_the_wrong_setting(s3_settings: Settings, wrong: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names) as raised:
        S3VideoStorage(replace(s3_settings, **wrong)).check()  # type: ignore[arg-type]  # all are strings
    assert SECRET not in str(raised.value)
    assert s3_settings.aws_secret_access_key not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_any_credentials(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    storage = S3VideoStorage(replace(s3_settings, aws_access_key_id="", aws_secret_access_key=""))
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        storage.check()
    with pytest.raises(StorageUnavailable, match="no credentials"):
        storage.put("a/b", b"x", "text/plain")


@pytest.mark.parametrize(
    ("status", "code", "names"),
    [
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "AWS_S3_BUCKET.*'videos'.*AWS_SECRET_ACCESS_KEY"),
        (403, "AllAccessDisabled", "AWS_S3_BUCKET"),
        (401, "Unauthorized", "AWS_S3_BUCKET"),
        (400, "ExpiredToken", "AWS_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION.*'us-east-1'"),
        (400, "InvalidBucketName", "AWS_S3_BUCKET"),
        (403, "RequestTimeTooSkewed", "clock"),
    ],
)
def test_check_reads_what_a_server_refuses(s3_settings: Settings, status: int, code: str, names: str) -> None:
    with server(refusing(status, code)) as endpoint, pytest.raises(ConfigurationError, match=names) as raised:
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).check()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (507, "Full")])
def test_check_blames_no_setting_for_a_server_in_trouble(
    s3_settings: Settings, status: int, code: str
) -> None:
    with server(refusing(status, code)) as endpoint, pytest.raises(StorageUnavailable, match=code) as raised:
        impatient(replace(s3_settings, aws_s3_endpoint=endpoint)).check()
    assert SECRET not in str(raised.value)


def test_with_wrong_credentials_every_method_is_unavailable(s3_settings: Settings) -> None:
    storage = S3VideoStorage(replace(s3_settings, aws_secret_access_key=SECRET))
    for call in calls(storage, "a/b"):
        with pytest.raises(StorageUnavailable, match="refused") as raised:
            call()
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize("name", ["aws_s3_endpoint", "s3_public_endpoint"])
def test_an_endpoint_that_is_none(s3_settings: Settings, name: str) -> None:
    broken = "http://user:hidden@host name:9000"
    with pytest.raises(ConfigurationError, match="MOCHI_S3_PUBLIC_ENDPOINT") as raised:
        S3VideoStorage(replace(s3_settings, **{name: broken}))  # type: ignore[arg-type]  # both are strings
    assert "hidden" not in str(raised.value)


def test_aws_itself_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.example.org")  # ours are in the settings
    storage = S3VideoStorage(
        Settings(aws_access_key_id="a", aws_secret_access_key="b", aws_region="eu-west-1")
    )
    url = urlsplit(storage.presign("videos/1/video.mp4", 60))
    assert (url.scheme, url.netloc) == ("https", "s3.eu-west-1.amazonaws.com")
    assert url.path == "/videos/videos/1/video.mp4"


def test_temporary_credentials_sign_with_their_token() -> None:
    settings = Settings(aws_access_key_id="a", aws_secret_access_key="b", aws_session_token="c")
    url = urlsplit(S3VideoStorage(settings).presign("videos/1/video.mp4", 60))
    assert parse_qs(url.query)["X-Amz-Security-Token"] == ["c"]
