from __future__ import annotations

from pathlib import Path

import pytest

from local.data_folder import DataFolder
from local.environment import accelerator_environ, base_environ, user_settings

FOLDER = DataFolder(Path("/data"), -1)


def test_is_built_from_scratch() -> None:
    environ = {"PATH": "/bin", "HOME": "/root", "HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "LC_ALL": "C"}
    assert base_environ(environ, FOLDER) == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "HOME": "/data/home",
        "TMPDIR": "/data/tmp",
    }


def test_text_is_utf8_where_nothing_is_said() -> None:
    assert base_environ({}, FOLDER)["LANG"] == "C.UTF-8"


@pytest.mark.parametrize(
    ("given", "spared"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a.example", "NO_PROXY": "b"}, "a.example,127.0.0.1,localhost,::1"),
    ],
)
def test_no_proxy_stands_between_our_processes(given: dict[str, str], spared: str) -> None:
    environ = base_environ({"https_proxy": "http://p:3128", **given}, FOLDER)
    assert environ["https_proxy"] == "http://p:3128"
    assert environ["NO_PROXY"] == environ["no_proxy"] == spared


def test_without_a_proxy_none_is_spoken_of() -> None:
    assert not {"NO_PROXY", "no_proxy"} & base_environ({"NO_PROXY": "a", "http_proxy": ""}, FOLDER).keys()


def test_the_users_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "MOCHI_POOL_LIMIT": "2",
        "MOCHI_LOG_LEVEL": "",
        "MODEL_DIR": "models/mine",
        "MOCHI_MANIFESTS": "/abs",
        "MOCHI_HOST": "192.0.2.1",
        "MOCHI_URL": "http://x",
        "MOCHI_ADDRESSES": "x",
        "REDIS_URL": "r",
    }
    assert user_settings(given) == {
        "MOCHI_POOL_LIMIT": "2",
        "MODEL_DIR": str(tmp_path / "models/mine"),
        "MOCHI_MANIFESTS": "/abs",
    }


def test_what_the_model_needs() -> None:
    given = {"CUDA_VISIBLE_DEVICES": "0", "HF_TOKEN": "t", "OMP_NUM_THREADS": "2", "HF_HOME": "", "PATH": "/"}
    assert accelerator_environ(given) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_TOKEN": "t",
        "OMP_NUM_THREADS": "2",
    }
