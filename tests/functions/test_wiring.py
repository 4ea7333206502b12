from __future__ import annotations

import subprocess

import pytest

from functions.wiring import Wiring
from jobs.errors import ConfigurationError
from jobs.settings import Settings
from tests.functions.support import ROOT, command
from tests.servers import free_port

SINK = "http://127.0.0.1:9/"


def test_the_object_store_is_not_touched_before_it_is_used_and_then_once() -> None:
    wiring = Wiring(Settings(k_sink=SINK, aws_s3_endpoint=SINK))
    assert "storage" not in vars(wiring)
    assert wiring.storage is wiring.storage


def test_without_a_broker_nothing_can_be_published() -> None:
    with pytest.raises(ConfigurationError, match="K_SINK"):
        Wiring(Settings())


@pytest.mark.parametrize(
    ("function", "environ", "named"),
    [
        ("submit", {}, "K_SINK"),
        ("completion", {"K_SINK": SINK, "MOCHI_POOL_LIMIT": "none"}, "MOCHI_POOL_LIMIT: 'none'"),
        ("reaper", {"K_SINK": "http://"}, "K_SINK"),
    ],
    ids=["missing", "wrong", "no host"],
)
def test_a_wrong_setting_ends_the_process_with_one_line(
    function: str, environ: dict[str, str], named: str
) -> None:
    line, base = command(function, free_port())
    ended = subprocess.run(
        line, env={**base, **environ}, cwd=ROOT, capture_output=True, timeout=30, text=True, check=False
    )
    assert ended.returncode == 3
    said = [one for one in ended.stderr.splitlines() if not one.startswith("INFO:")]
    assert len(said) == 1
    assert said[0].startswith(f"{function}: ")
    assert named in said[0]
