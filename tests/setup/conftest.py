"""A `kubectl` on the PATH that tells of a cluster which the test describes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Described"]

#: Answers `get KIND … -o json` from KIND.json beside it, and `logs` from log.txt; notes what else it is told.
_KUBECTL = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
if arguments[0] == "get":
    found = here / f"{{arguments[1]}}.json"
    print(found.read_text() if found.exists() else json.dumps({{"items": []}}))
elif arguments[0] == "logs":
    print((here / "log.txt").read_text(), end="")
elif arguments[0] == "kustomize":
    print((here / "rendered.yaml").read_text())
else:
    with (here / "told.txt").open("a") as told:
        print(*arguments, file=told)
"""


class Described:
    """What the cluster is said to hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, kind: str, *resources: dict[str, Any]) -> None:
        """`kubectl get KIND` lists these."""
        (self._folder / f"{kind}.json").write_text(json.dumps({"items": resources}))

    def logs(self, text: str) -> None:
        """Every container's log."""
        (self._folder / "log.txt").write_text(text)

    def renders(self, text: str) -> None:
        """What every kustomization comes to."""
        (self._folder / "rendered.yaml").write_text(text)

    @property
    def told(self) -> Sequence[str]:
        """The commands that change something, in order."""
        told = self._folder / "told.txt"
        return told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Described:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(_KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Described(folder)
