"""The Secrets that a Job makes: what is in them, and that none is ever written over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions.make_bucket import main as make_bucket
from functions.new_secret import filled, main
from jobs.settings import Settings
from jobs.storage import S3VideoStorage

ENVIRON = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
ARGUMENTS = ["redis", "REDIS_PASSWORD={password}", "auth.conf=requirepass {password}", "port=6379"]


class ApiServer(httpx.BaseTransport):
    """Keeps the Secrets that it is sent, as the API server does: a name once."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.kept: dict[str, Any] = {}
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        sent = json.loads(request.content)
        if self.refusal:
            return httpx.Response(self.refusal, json=sent)
        if sent["metadata"]["name"] in self.kept:
            return httpx.Response(409)
        self.kept[sent["metadata"]["name"]] = sent
        return httpx.Response(201, json=sent)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "namespace").write_text("video")
    (tmp_path / "token").write_text("of-the-pod\n")
    return tmp_path


def test_a_word_is_one_token_wherever_it_stands() -> None:
    values = filled(["a={x}", "b=<{x}> {y}", "c=plain", "d=k=v"])
    assert re.fullmatch("[0-9a-f]{48}", values["a"])
    first, second = values["b"].split()
    assert first == f"<{values['a']}>"
    assert second != values["a"]
    assert (values["c"], values["d"]) == ("plain", "k=v")
    assert filled(["a={x}"]) != filled(["a={x}"])


@pytest.mark.parametrize("text", ["key", "=x", "a={", "a={}", "a={0}", "a={x.y}", "a={x y}"])
def test_what_is_no_template_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        filled([text])


def test_a_secret_is_made_in_the_pods_namespace(account: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ApiServer()
    assert main(ARGUMENTS, ENVIRON, account, server) == 0
    (request,) = server.asked
    assert (request.method, str(request.url)) == (
        "POST",
        "https://10.96.0.1/api/v1/namespaces/video/secrets",
    )
    assert request.headers["authorization"] == "Bearer of-the-pod"
    secret = server.kept["redis"]
    labels = {"app.kubernetes.io/name": "redis"}
    assert (secret["kind"], secret["metadata"]) == ("Secret", {"name": "redis", "labels": labels})
    password = secret["stringData"]["REDIS_PASSWORD"]
    assert secret["stringData"]["auth.conf"] == f"requirepass {password}"
    said = capsys.readouterr()
    assert password not in said.out + said.err


def test_the_second_time_changes_nothing(account: Path) -> None:
    server = ApiServer()
    main(ARGUMENTS, ENVIRON, account, server)
    first = server.kept["redis"]
    assert main(ARGUMENTS, ENVIRON, account, server) == 0
    assert server.kept["redis"] is first


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_told_and_the_job_tries_again(
    account: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ApiServer(status)
    assert main(ARGUMENTS, ENVIRON, account, server) == 1
    password = json.loads(server.asked[0].content)["stringData"]["REDIS_PASSWORD"]
    said = capsys.readouterr()
    assert str(status) in said.err
    assert password not in said.out + said.err


def test_outside_a_cluster_it_says_what_is_missing(
    tmp_path: Path, account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ARGUMENTS, ENVIRON, tmp_path / "nowhere", ApiServer()) == 1
    assert main(ARGUMENTS, {}, account, ApiServer()) == 1
    assert "KUBERNETES_SERVICE_HOST" in capsys.readouterr().err


def test_a_bucket_is_made_and_the_second_time_only_looked_at(s3_settings: Settings) -> None:
    environ = {
        "AWS_S3_ENDPOINT": s3_settings.aws_s3_endpoint or "",
        "AWS_S3_BUCKET": "made-by-a-job",
        "AWS_ACCESS_KEY_ID": s3_settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_settings.aws_secret_access_key,
    }
    assert make_bucket(environ) == 0
    storage = S3VideoStorage(Settings.from_environ(environ))
    storage.put("kept", b"x", "text/plain")
    assert make_bucket(environ) == 0
    assert storage.head("kept") is not None


def test_a_bucket_that_cannot_be_made_is_told(
    s3_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"AWS_S3_ENDPOINT": s3_settings.aws_s3_endpoint or "", "AWS_ACCESS_KEY_ID": "wrong"}
    assert make_bucket({**environ, "AWS_SECRET_ACCESS_KEY": "wrong"}) == 1
    assert make_bucket({"AWS_S3_ENDPOINT": "ftp://x"}) == 1
    assert "AWS_S3_ENDPOINT" in capsys.readouterr().err
