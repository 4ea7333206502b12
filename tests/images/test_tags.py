"""Tags say what an image is made of: the same content has the same one, another content another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cluster.setup.contents import files_of, tag_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "jobs" / "inner").mkdir(parents=True)
    (root / "jobs" / "a.py").write_text("a = 1\n")
    (root / "jobs" / "inner" / "b.lua").write_text("return 1\n")
    (root / "uv.lock").write_text("version = 1\n")
    return root


NAMES = ("uv.lock", "jobs")


def test_the_same_content_has_the_same_tag_wherever_and_whenever_it_is(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    (copy / "jobs" / "a.py").touch()
    assert tag_of(copy, NAMES) == tag_of(project, NAMES)


def test_caches_and_what_is_not_named_do_not_count(project: Path) -> None:
    before = tag_of(project, NAMES)
    (project / "jobs" / "__pycache__").mkdir()
    (project / "jobs" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    (project / "README.md").write_text("hello\n")
    assert tag_of(project, NAMES) == before


def test_a_change_is_another_tag(project: Path) -> None:
    tags = [
        tag_of(project, NAMES),
        tag_of(project, NAMES, "a command"),
        tag_of(project, NAMES, "a com", "mand"),
    ]
    (project / "jobs" / "a.py").write_text("a = 2\n")
    tags.append(tag_of(project, NAMES))
    (project / "jobs" / "a.py").rename(project / "jobs" / "c.py")
    tags.append(tag_of(project, NAMES))
    (project / "jobs" / "new.py").write_text("")
    tags.append(tag_of(project, NAMES))
    (project / "uv.lock").write_text("version = 2\n")
    tags.append(tag_of(project, NAMES))
    assert len(set(tags)) == len(tags)


def test_a_name_that_is_not_there_is_said(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="inference_service"):
        list(files_of(project, ("jobs", "inference_service")))
