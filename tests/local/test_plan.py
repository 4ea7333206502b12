from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from local.api_address import ApiAddress
from local.data_folder import DataFolder, opened
from local.plan import STOP_ORDER, Plan, make_plan
from local.processes import Program
from tests.servers import free_port

USER = {
    "PATH": "/bin",
    "HF_TOKEN": "hub-token",
    "MOCHI_POOL_LIMIT": "2",
    "MODEL_NAME": "none",
    "MOCHI_LEASE_SECONDS": "90",
}
OWN_SERVERS = {
    "REDIS_URL": "redis://:redis-password@127.0.0.1:6379/0",
    "AWS_S3_ENDPOINT": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": "minio",
    "AWS_SECRET_ACCESS_KEY": "minio-secret",
}


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[DataFolder]:
    async with opened(tmp_path / "data", "a test") as folder:
        yield folder


def _plan(environ: dict[str, str], folder: DataFolder, host: str = "127.0.0.1") -> Plan:
    return make_plan(Settings.from_environ(environ), environ, folder, ApiAddress(host, free_port()))


def _named(plan: Plan) -> dict[str, Program]:
    return {program.name: program for program in plan.programs}


def test_what_runs_and_in_which_order(folder: DataFolder) -> None:
    plan = _plan(USER, folder)
    groups = [[p.name for p in group] for group in (plan.servers, plan.workers, plan.doors)]
    assert groups == [["valkey", "seaweed"], ["completion", "reaper", "predictor"], ["broker", "submit"]]
    assert sorted(name for names in STOP_ORDER for name in names) == sorted(p.name for p in plan.programs)


def test_all_stop_within_ten_seconds(folder: DataFolder) -> None:
    programs = _named(_plan(USER, folder))
    assert sum(max(programs[name].stop_seconds for name in names) for names in STOP_ORDER) <= 9.5


def test_ones_own_servers_are_used_instead(folder: DataFolder) -> None:
    plan = _plan({**USER, **OWN_SERVERS}, folder)
    assert plan.servers == ()
    for name in ("submit", "completion", "reaper", "predictor"):
        environ = _named(plan)[name].environ
        assert {setting: environ[setting] for setting in OWN_SERVERS} == OWN_SERVERS
    assert list(folder.secrets.iterdir()) == []


def test_the_password_beside_ones_own_redis_reaches_every_process(folder: DataFolder) -> None:
    beside = {**OWN_SERVERS, "REDIS_URL": "redis://127.0.0.1:6379/0", "REDIS_PASSWORD": "redis-password"}
    plan = _plan({**USER, **beside}, folder)
    assert {program.environ["REDIS_URL"] for program in plan.programs} == {OWN_SERVERS["REDIS_URL"]}


def test_the_users_settings_reach_the_processes_and_win(folder: DataFolder) -> None:
    for program in (*_plan(USER, folder).workers, *_plan(USER, folder).doors):
        wanted = ("MOCHI_POOL_LIMIT", "MODEL_NAME", "MOCHI_LEASE_SECONDS")
        assert [program.environ[name] for name in wanted] == ["2", "none", "90"]


def test_no_secret_is_on_a_command_line_or_with_who_does_not_need_it(folder: DataFolder) -> None:
    programs = _named(_plan(USER, folder))
    password, access, secret = (
        folder.secret(name).read_text() for name in ("redis-password", "s3-access-key", "s3-secret-key")
    )
    for program in programs.values():
        said = " ".join((*program.argv, program.address, repr(program)))
        assert not [s for s in (password, access, secret, "hub-token") if s in said]
    holders = {
        found: {n for n, p in programs.items() if any(found in v for v in p.environ.values())}
        for found in (password, secret, "hub-token")
    }
    functions = {"submit", "completion", "reaper"}
    assert holders == {
        password: {*functions, "broker", "predictor"},  # Valkey has it in a file
        secret: {*functions, "predictor", "seaweed"},
        "hub-token": {"predictor"},
    }


def test_each_writes_into_the_data_folder_only(folder: DataFolder) -> None:
    for program in _plan(USER, folder).programs:
        assert Path(program.environ["HOME"]).is_relative_to(folder.path)
        assert Path(program.environ["TMPDIR"]).is_relative_to(folder.path)
        assert program.folder.is_relative_to(folder.path)
        assert program.log == folder.logs / f"{program.name}.log"


def test_every_process_has_a_port_of_its_own(folder: DataFolder) -> None:
    addresses = [program.address for program in _plan(USER, folder).programs]
    assert len(set(addresses)) == len(addresses)


def test_the_broker_knows_where_all_are(folder: DataFolder) -> None:
    programs = _named(_plan(USER, folder, host="0.0.0.0"))  # noqa: S104  # nothing listens there
    found = dict(line.split("=", 1) for line in programs["broker"].environ["MOCHI_ADDRESSES"].split(","))
    assert found == {
        "Service/submit": programs["submit"].address,
        "Service/completion": programs["completion"].address,
        "Service/reaper": programs["reaper"].address,
        "InferenceService/mochi-1": programs["predictor"].address,
    }
    assert all(url.startswith("http://127.0.0.1:") for url in found.values())
    assert programs["submit"].environ["K_SINK"] == f"{programs['broker'].address}/video/default"


def test_a_function_is_found_wherever_mochi_is_installed(folder: DataFolder) -> None:
    for name in ("submit", "completion", "reaper"):
        assert Path(_named(_plan(USER, folder))[name].environ["FUNCTION_SOURCE"]).is_file()
