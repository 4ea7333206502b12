"""Each setting with a value that is taken and values that are refused by name, without showing a secret."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from jobs.errors import ConfigurationError
from jobs.settings import Settings

#: Field → (its name in the environment, a text, the value that it gives).
GOOD: dict[str, tuple[str, str, object]] = {
    "redis_url": ("REDIS_URL", "rediss://:pass@redis:6380/1", "rediss://:pass@redis:6380/1"),
    "aws_s3_endpoint": ("AWS_S3_ENDPOINT", "http://minio:9000/", "http://minio:9000"),
    "aws_s3_bucket": ("AWS_S3_BUCKET", "my.videos-7", "my.videos-7"),
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID", "AKIA/+=x", "AKIA/+=x"),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY", "s3cr/t+ with a space", "s3cr/t+ with a space"),
    "aws_session_token": ("AWS_SESSION_TOKEN", "FwoG/+=x", "FwoG/+=x"),
    "aws_region": ("AWS_REGION", "eu-west-1", "eu-west-1"),
    "s3_public_endpoint": ("MOCHI_S3_PUBLIC_ENDPOINT", "https://v.example.org", "https://v.example.org"),
    "scratch_dir": ("SCRATCH_DIR", "/scratch", Path("/scratch")),
    "model_name": ("MODEL_NAME", "hf://genmo/mochi-1-preview", "hf://genmo/mochi-1-preview"),
    "model_dir": ("MODEL_DIR", "/models/mochi 1", Path("/models/mochi 1")),
    "hf_token": ("HF_TOKEN", "hf_abc", "hf_abc"),
    "k_sink": ("K_SINK", "http://broker-ingress/video/default", "http://broker-ingress/video/default"),
    "retention_seconds": ("MOCHI_RETENTION", "2d", 172_800),
    "backlog_limit": ("MOCHI_BACKLOG_LIMIT", "5", 5),
    "pool": ("MOCHI_POOL", "mochi-2", "mochi-2"),
    "pool_limit": ("MOCHI_POOL_LIMIT", "8", 8),
    "queues": ("MOCHI_QUEUES", "fast:2, slow:0.5,other", {"fast": 2.0, "slow": 0.5, "other": 1.0}),
    "pool_grace_seconds": ("MOCHI_POOL_GRACE_SECONDS", "15m", 900),
    "lease_seconds": ("MOCHI_LEASE_SECONDS", "90s", 90),
    "slice_seconds": ("MOCHI_SLICE_SECONDS", "2m", 120),
    "checkpoint_seconds": ("MOCHI_CHECKPOINT_SECONDS", "15", 15),
    "presign_seconds": ("MOCHI_PRESIGN_SECONDS", "12h", 43_200),
    "host": ("MOCHI_HOST", "127.0.0.1", "127.0.0.1"),
    "port": ("PORT", "65535", 65535),
    "grace_seconds": ("MOCHI_GRACE_SECONDS", "20", 20),
    "log_format": ("MOCHI_LOG_FORMAT", "json", "json"),
    "log_level": ("MOCHI_LOG_LEVEL", "debug", "debug"),
}
_DURATIONS = ["0", "-5", "5x", "1.5h", "h", "9999999999d", "99999999d", "٣"]
_NUMBERS = ["0", "-1", "1.5", "many", "1" * 5000, "²"]
_ENDPOINTS = [
    "minio:9000",
    "ftp://minio",
    "http://",
    "http://minio:port",
    "http://minio:99999",
    "http://[::1",
    "http://user:hidden@minio:9000",
    "http://minio:9000?hidden=1",
    "http://mi nio",
]
BAD: dict[str, list[str]] = {
    "REDIS_URL": [
        "redis",
        "http://redis",
        "redis://",
        "redis://:hid/den@redis:x",
        "redis://:hidden@\u2100",
        "unix://",
    ],
    "AWS_S3_ENDPOINT": _ENDPOINTS,
    "AWS_S3_BUCKET": ["Videos", "a", "a b", "-ab", "a..b", "x" * 64, "videos/"],
    "AWS_ACCESS_KEY_ID": ["hid den", "hidden\nx", "hiddené"],
    "AWS_SECRET_ACCESS_KEY": ["hidden\nx", "hidden\0"],
    "AWS_SESSION_TOKEN": ["hid den", "hidden\nx"],
    "AWS_REGION": ["eu west", "EU!"],
    "MOCHI_S3_PUBLIC_ENDPOINT": _ENDPOINTS,
    "SCRATCH_DIR": ["/a\0b"],
    "MODEL_NAME": ["a b", "../models", "a/b/c", "s3://x", "/models/mochi"],
    "MODEL_DIR": ["/a\0b"],
    "HF_TOKEN": ["hid den", "hidden\nx"],
    "K_SINK": ["broker", "ftp://broker", "http://", "http://hidden@broker:x"],
    "MOCHI_RETENTION": _DURATIONS,
    "MOCHI_BACKLOG_LIMIT": _NUMBERS,
    "MOCHI_POOL": ["Mochi", "mochi_1", "-mochi", "m" * 64],
    "MOCHI_POOL_LIMIT": _NUMBERS,
    "MOCHI_QUEUES": ["a b", "a:", "a:x", "a:0", "a:-1", "a,,b", "a,a", "A", "a:1e5"],
    "MOCHI_POOL_GRACE_SECONDS": _DURATIONS,
    "MOCHI_LEASE_SECONDS": _DURATIONS,
    "MOCHI_SLICE_SECONDS": _DURATIONS,
    "MOCHI_CHECKPOINT_SECONDS": _DURATIONS,
    "MOCHI_PRESIGN_SECONDS": [*_DURATIONS, "8d"],
    "MOCHI_HOST": ["a b", "http://host", "host/path"],
    "PORT": [*_NUMBERS, "65536", "tcp://10.0.0.1:80"],
    "MOCHI_GRACE_SECONDS": _DURATIONS,
    "MOCHI_LOG_FORMAT": ["xml", "JSON"],
    "MOCHI_LOG_LEVEL": ["loud", "INFO"],
}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environ({}) == Settings()
    assert Settings.from_environ({name: " " for name, _, _ in GOOD.values()}) == Settings()


def test_every_field_is_here() -> None:
    assert list(GOOD) == [field.name for field in fields(Settings)]
    assert set(BAD) == {name for name, _, _ in GOOD.values()}


@pytest.mark.parametrize("field", GOOD)
def test_every_field_is_read_from_the_environment(field: str) -> None:
    name, text, value = GOOD[field]
    settings = Settings.from_environ({name: f" {text} ", "PATH": "/bin"})
    assert getattr(settings, field) == value
    assert value != getattr(Settings(), field)
    others = [other for other in GOOD if other != field]
    assert all(getattr(settings, other) == getattr(Settings(), other) for other in others)


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts], ids=ascii
)
def test_a_wrong_value_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environ({name: text})
    message = str(raised.value)
    assert message.startswith(f"{name}: ")
    assert "hid" not in message
    assert len(message) < 250
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_no_secret_is_shown() -> None:
    secret = "do-not-show-me"
    settings = Settings.from_environ(
        {
            "REDIS_URL": f"redis://:{secret}@redis",
            "AWS_SECRET_ACCESS_KEY": secret,
            "HF_TOKEN": secret,
            "K_SINK": f"http://user:{secret}@broker",
        }
    )
    assert secret not in repr(settings)
    assert secret not in str(settings)


def test_queues_keep_their_order() -> None:
    assert list(Settings.from_environ({"MOCHI_QUEUES": "z,a,m"}).queues) == ["z", "a", "m"]


def test_a_home_folder() -> None:
    assert Settings.from_environ({"MODEL_DIR": "~/mochi"}).model_dir == Path.home() / "mochi"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert Settings.from_environ({"MOCHI_RETENTION": text}).retention_seconds == seconds


@pytest.mark.parametrize(
    "url",
    ["unix:///run/redis.sock", "redis://redis", "redis://user:p%40ss@redis:6379/0", "redis://[::1]:6379"],
)
def test_urls_of_redis(url: str) -> None:
    assert Settings.from_environ({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    ("url", "together"),
    [
        ("redis://redis:6379/0", "redis://:a%2Fb@redis:6379/0"),
        ("rediss://mochi@redis", "rediss://mochi:a%2Fb@redis"),
        ("redis://:own@redis", "redis://:own@redis"),  # a password of its own wins
        ("unix:///run/redis.sock?db=1", "unix://:a%2Fb@/run/redis.sock?db=1"),
    ],
)
def test_a_password_beside_the_url_of_redis(url: str, together: str) -> None:
    assert Settings.from_environ({"REDIS_URL": url, "REDIS_PASSWORD": "a/b"}).redis_url == together
    assert Settings.from_environ({"REDIS_URL": url, "REDIS_PASSWORD": ""}).redis_url == url


@pytest.mark.parametrize("host", ["10.0.0.1", "::", "::1", "localhost", "my-host.example.org"])
def test_hosts(host: str) -> None:
    assert Settings.from_environ({"MOCHI_HOST": host}).host == host
