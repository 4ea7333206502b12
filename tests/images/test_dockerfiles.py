"""The Dockerfiles against the project: what they copy, install and start is there, and no more."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.setup.buildah import BASE
from tests.cluster.setup.images import CODE, DOCKERFILES, LOCK, START_PREDICTOR

ROOT = Path(__file__).resolve().parents[2]
PARTS = pytest.mark.parametrize("part", sorted(DOCKERFILES))


def text_of(part: str) -> str:
    """A Dockerfile, its continued lines joined."""
    return (ROOT / DOCKERFILES[part]).read_text("utf-8").replace("\\\n", " ")


def instructions(part: str, name: str) -> Sequence[str]:
    """What follows each instruction of this name."""
    return re.findall(rf"^{name} +(.+)$", text_of(part), re.MULTILINE)


def copied(part: str) -> Sequence[str]:
    """What is copied out of the project."""
    words = [line.split() for line in instructions(part, "COPY")]
    return [name for line in words if not line[0].startswith("--from") for name in line[:-1]]


@PARTS
def test_what_is_copied_is_there_and_is_what_the_tag_is_made_of(part: str) -> None:
    assert sorted(copied(part)) == sorted((*LOCK, *CODE[part]))
    assert [name for name in copied(part) if not (ROOT / name).exists()] == []


@PARTS
def test_a_container_starts_a_module_of_ours_as_nobody_in_particular(part: str) -> None:
    (entry,) = instructions(part, "ENTRYPOINT")
    python, option, module = json.loads(entry)
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None
    assert module.partition(".")[0] in CODE[part]
    assert instructions(part, "USER") == ["65532:65532"]
    assert instructions(part, "WORKDIR")[-1] == "/app"


def test_the_test_clusters_predictor_is_started_as_its_dockerfile_says() -> None:
    (entry,) = instructions("predictor", "ENTRYPOINT")
    assert instructions("predictor", "CMD") == []
    option, command = START_PREDICTOR
    python, *arguments = json.loads(entry)
    # Debian's own Python has the longer name only.
    assert (option, command.split()) == ("--cmd", [f"{python}3", *arguments])


@PARTS
def test_nothing_but_the_lock_says_what_is_installed(part: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (sync,) = (line for line in instructions(part, "RUN") if "uv sync" in line)
    assert {"--frozen", "--no-dev", "--no-install-project"} <= set(sync.split())
    (extra,) = re.findall(r"--extra (\S+)", sync)
    assert extra == part
    assert extra in project["optional-dependencies"]


@PARTS
def test_uv_and_python_are_the_projects(part: str) -> None:
    (makes,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f"UV_VERSION={makes}" in instructions(part, "ARG")
    bases = {line.split()[0] for line in instructions(part, "FROM")}
    assert bases == {BASE, "base"}
    (version,) = re.findall(r"python:(\d+\.\d+)-", BASE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["mypy"]["python_version"] == version
    assert set(re.findall(r"python(\d\.\d+)", text_of(part))) <= {version}


@PARTS
def test_code_is_the_last_layer_and_torch_the_first(part: str) -> None:
    final = text_of(part).rpartition("\nFROM ")[2]
    steps = [line for line in final.splitlines() if line.startswith(("COPY", "RUN", "ADD"))]
    assert steps[-1] == "COPY --from=build /app/code ./"
    assert all(step.startswith("COPY --from=build ") for step in steps)
    assert steps.index("COPY --from=build /app/.venv .venv") == len(steps) - 2
    if part == "predictor":
        assert steps[0] == "COPY --from=build /app/heavy ./"


@PARTS
def test_the_code_of_an_image_imports_no_folder_that_is_not_in_it(part: str) -> None:
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    folders = {name for name in CODE[part] if (ROOT / name).is_dir()}
    imported = {
        module.partition(".")[0]
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for module in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert imported & ours == folders


def test_a_build_sees_what_the_images_are_made_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert let_in == {*LOCK, *CODE["functions"], *CODE["predictor"]}
    assert {"**/__pycache__", "**/*.pyc", "**/.func"} == set(rules) - {"*"} - {f"!{name}" for name in let_in}


def test_every_file_of_an_image_is_in_the_repository() -> None:
    """So that an image of a clone is the image of the folder it was cloned from."""
    names = {*CODE["functions"], *CODE["predictor"]}
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git repository")
    assert [line for line in listed.stdout.splitlines() if "__pycache__" not in line] == []
