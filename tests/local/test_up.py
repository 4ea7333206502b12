"""`mochi up` as a user has it: real processes, with a model that does nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from local.plan import STOP_ORDER
from mochi import Client
from tests.local.real_up import Mochi, holders, mochi, only_line, until

NAMES = [name for names in STOP_ORDER for name in names]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mochi]:
    folder = tmp_path_factory.mktemp("up")
    with mochi(folder, data_dir=folder / "data") as started:
        started.ready()
        yield started


def _video(up: Mochi, prompt: str) -> str:
    """Make a video; the id of its job."""
    with Client(up.url) as client:
        return client.wait(client.submit(prompt, idempotency_key=prompt.replace(" ", "-")).id, timeout=90).id


def test_prints_a_table_and_then_that_it_is_ready(up: Mochi) -> None:
    head, *rows, last = up.out.splitlines()
    assert head.split() == ["process", "address", "log"]
    assert sorted(row.split()[0] for row in rows) == sorted(NAMES)
    assert last == f"ready: {up.url}"
    assert all((up.folder / row.split()[2]).is_file() for row in rows)
    assert f" {up.url} " in next(row for row in rows if row.startswith("submit"))


def test_keeps_its_secrets_to_their_owner(up: Mochi) -> None:
    secrets = list((up.data_dir / "secrets").iterdir())
    assert len(secrets) == 3
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    listed = str([process.cmdline() for process in holders(up.data_dir).values()]) + up.out + up.err
    logged = "".join(path.read_text("utf-8", "replace") for path in (up.data_dir / "logs").iterdir())
    # The access key's id is no secret: every presigned URL shows it.
    assert [path.name for path in secrets if path.read_text() in listed + logged] in ([], ["s3-access-key"])


def test_listens_on_loopback_only(up: Mochi) -> None:
    places = [
        connection.laddr.ip
        for process in holders(up.data_dir).values()
        for connection in process.connections("inet")
        if connection.status == "LISTEN"
    ]
    assert len(places) >= len(NAMES)
    assert set(places) == {"127.0.0.1"}


def test_a_second_one_on_the_same_folder_is_refused(up: Mochi, tmp_path: Path) -> None:
    with mochi(tmp_path, data_dir=up.data_dir) as second:
        assert second.process.wait(60) == 1
        line = only_line(second.err)
    assert f"{up.data_dir} is in use by mochi up at {up.url} (process {up.process.pid})" in line
    assert second.out == ""


def test_a_child_that_is_killed_is_started_again_and_jobs_go_on(up: Mochi) -> None:
    for name in NAMES:
        os.kill(up.pid(name), signal.SIGKILL)
        up.says(f"{name} is ready again\n")
        up.says(f"{name} was ended by signal 9 (Killed); it is started again in 0.5 s (its log: ")
    _video(up, "after all of them were killed")


def test_a_guardian_that_is_killed_is_replaced(up: Mochi) -> None:
    first = up.pid("guardian")
    os.kill(first, signal.SIGKILL)
    until(lambda: any("-S" in process.cmdline() for process in holders(up.data_dir).values()))
    assert up.pid("guardian") != first


def test_the_next_one_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with mochi(tmp_path / "1", data_dir=data_dir) as first:
        first.ready()
        done = _video(first, "made before")
        os.kill(first.pid("predictor"), signal.SIGSTOP)  # now it takes no event, and heeds no SIGTERM
        with Client(first.url) as client:
            waiting = client.submit("asked before, made later").id
        assert first.end(signal.SIGTERM) == 0
        assert holders(data_dir) == {}
        assert first.err.splitlines()[-2:] == ["stopping", "stopped"]
    with mochi(tmp_path / "2", data_dir=data_dir) as second:
        second.ready()
        with Client(second.url) as client:
            assert client.wait(waiting, timeout=90).video
            client.download(done, tmp_path / "before.mp4")
        processes = holders(data_dir)
        assert len(processes) == len(NAMES) + 2  # the guardian, and itself
        second.process.kill()
        second.process.wait()
        until(lambda: not holders(data_dir), patience=5)
    with mochi(tmp_path / "3", data_dir=data_dir) as third:
        third.ready()
        with Client(third.url) as client:
            assert {job.id for job in client.list()} == {done, waiting}
            client.download(waiting, tmp_path / "later.mp4")
        assert third.end(signal.SIGINT) == 0
    assert holders(data_dir) == {}
    assert (tmp_path / "before.mp4").stat().st_size > 0 < (tmp_path / "later.mp4").stat().st_size


def test_starts_at_once_after_it_was_killed(tmp_path: Path) -> None:
    """Its processes may still be ending then: the next one waits for them."""
    data_dir = tmp_path / "data"
    with mochi(tmp_path / "1", data_dir=data_dir) as first:
        first.says("starting completion")
        first.process.kill()
        first.process.wait()
        with mochi(tmp_path / "2", data_dir=data_dir) as second:
            second.ready()
            assert second.end() == 0
    assert holders(data_dir) == {}


def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    with mochi(tmp_path, data_dir=tmp_path / "data") as started:
        started.says("starting completion")
        assert started.end(signal.SIGINT) == 0
        assert started.out == ""
    assert holders(tmp_path / "data") == {}


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with mochi(tmp_path, "up", "--port", port, data_dir=tmp_path / "data") as started:
            assert started.process.wait(60) == 1
    assert not (tmp_path / "data").exists()
    assert only_line(started.err) == (
        f"error: port {port} of 127.0.0.1 is in use: stop what listens there, or choose another with --port"
    )


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with mochi(tmp_path, data_dir=tmp_path / "data", settings={"MODEL_DIR": "models/none"}) as started:
        assert started.process.wait(90) == 1
    line = only_line(started.err)
    assert line.startswith("error: predictor cannot start: it ended with exit code 1: MODEL_DIR=")
    assert "models/none: the model cannot be loaded: there is no such folder" in line
    assert line.endswith(f"(its log: {tmp_path}/data/logs/predictor.log)")
    assert holders(tmp_path / "data") == {}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("MOCHI_POOL_LIMIT", "none", "MOCHI_POOL_LIMIT: "),
        ("REDIS_URL", "http://:a-password@127.0.0.1/0", "REDIS_URL: "),
        ("REDIS_URL", "redis://:a-password@127.0.0.1:1/0", "REDIS_URL: "),
    ],
)
def test_a_wrong_setting(tmp_path: Path, setting: str, value: str, said: str) -> None:
    with mochi(tmp_path, data_dir=tmp_path / "data", settings={setting: value}) as started:
        assert started.process.wait(60) == 1
    line = only_line(started.err)
    assert line.startswith(f"error: {said}")
    assert "a-password" not in line


def test_a_wrong_password_of_ones_own_redis(tmp_path: Path, redis_url: str) -> None:
    wrong = re.sub(r":[^:@/]+@", ":a-wrong-one@", redis_url)
    with mochi(tmp_path, data_dir=tmp_path / "data", settings={"REDIS_URL": wrong}) as started:
        assert started.process.wait(60) == 1
    line = only_line(started.err)
    assert line.startswith("error: REDIS_URL: ")
    assert "a-wrong-one" not in line


def test_wrong_credentials_of_ones_own_object_store(tmp_path: Path, s3_settings: Settings) -> None:
    settings = {
        "AWS_S3_ENDPOINT": str(s3_settings.aws_s3_endpoint),
        "AWS_ACCESS_KEY_ID": s3_settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": "a-wrong-one",
    }
    with mochi(tmp_path, data_dir=tmp_path / "data", settings=settings) as started:
        assert started.process.wait(60) == 1
    line = only_line(started.err)
    assert line.startswith("error: AWS_S3_ENDPOINT: ")
    assert "AWS_SECRET_ACCESS_KEY" in line
    assert "a-wrong-one" not in line


def test_ones_own_servers_are_used(tmp_path: Path, redis_url: str, s3_settings: Settings) -> None:
    settings = {
        "REDIS_URL": redis_url.removesuffix("/0") + "/9",
        "AWS_S3_ENDPOINT": str(s3_settings.aws_s3_endpoint),
        "AWS_S3_BUCKET": s3_settings.aws_s3_bucket,
        "AWS_ACCESS_KEY_ID": s3_settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_settings.aws_secret_access_key,
    }
    with mochi(tmp_path, data_dir=tmp_path / "data", settings=settings) as started:
        started.ready()
        assert [name for name in ("valkey", "seaweed") if name in started.out.split()] == []
        _video(started, "kept elsewhere")
        assert started.end() == 0
    assert not (tmp_path / "data" / "valkey").exists()
    assert not (tmp_path / "data" / "seaweed").exists()
