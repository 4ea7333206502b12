"""The Job that downloads the weights: its script, run in a folder of ours with a hub of ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.manifests.rendered import ROOT, document

#: Instead of the hub's program: it notes what it is asked for, and breaks off where HUB says so.
HUB = """#!/bin/sh
echo "$@" >> "$LOG"
mkdir -p "$4"
echo weights >> "$4/model_index.json"
test "$HUB" = whole
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "models").mkdir()
    program = tmp_path / "bin/hf"
    program.write_text(HUB)
    program.chmod(0o755)
    return tmp_path


def run(folder: Path, hub: str) -> int:
    (container,) = document(ROOT / "kserve/base/job-weights.yaml")["spec"]["template"]["spec"]["containers"]
    shell, option, script = container["command"]
    environ = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    environ |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LOG": str(folder / "log"), "HUB": hub}
    script = script.replace("/models/", f"{folder}/models/")
    return subprocess.run([shell, option, script], env=environ, check=False, timeout=20).returncode


def test_the_folder_has_its_name_once_it_is_whole(folder: Path) -> None:
    assert run(folder, "whole") == 0
    assert [p.name for p in (folder / "models").iterdir()] == ["mochi-1-preview"]
    (asked,) = (folder / "log").read_text().splitlines()
    assert asked.startswith("download genmo/mochi-1-preview --local-dir ")


def test_a_download_that_broke_off_goes_on_where_it_was(folder: Path) -> None:
    assert run(folder, "broken") != 0
    assert [p.name for p in (folder / "models").iterdir()] == ["mochi-1-preview.part"]
    assert run(folder, "whole") == 0
    model = folder / "models/mochi-1-preview/model_index.json"
    assert model.read_text() == "weights\nweights\n"  # into the same folder


def test_weights_that_are_there_are_not_downloaded_again(folder: Path) -> None:
    run(folder, "whole")
    assert run(folder, "whole") == 0
    assert len((folder / "log").read_text().splitlines()) == 1


def test_every_part_of_the_model_is_asked_for(folder: Path) -> None:
    """The parts are those that the loader wants, and those that it would not use are left out."""
    run(folder, "whole")
    patterns = (folder / "log").read_text().split()[4:]
    assert patterns[::2] == ["--include"] * (len(patterns) // 2)
    wanted = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
    assert {p.partition("/")[0] for p in patterns[1::2]} == {*wanted, "model_index.json"}


def test_what_is_downloaded_is_kept_on_the_volume_alone() -> None:
    """More in /tmp than it has room for, and the pod is evicted in the middle of the download."""
    spec = document(ROOT / "kserve/base/job-weights.yaml")["spec"]["template"]["spec"]
    environ = {v["name"]: v.get("value") for v in spec["containers"][0]["env"]}
    assert environ["HF_HOME"].startswith("/tmp/")
    assert environ["HF_XET_CHUNK_CACHE_SIZE_BYTES"] == "0"
