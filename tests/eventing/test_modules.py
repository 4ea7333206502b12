"""What the modules offer, what they load, and who uses the SDK."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import eventing

FOLDER = Path(eventing.__file__).parent
ROOT = FOLDER.parent
MODULES = sorted(f"eventing.{p.stem}" for p in FOLDER.glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", [*MODULES, "eventing.schemas"])
def test_all_is_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)
    offered = module.__all__
    assert all(hasattr(module, each) for each in offered)

    def order(each: str) -> tuple[int, str]:  # constants, classes, functions: as isort has it
        return (0 if each.isupper() else 1 if each[0].isupper() else 2, each)

    assert offered == sorted(set(offered), key=order)
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    defined = {
        n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {each for each in defined if not each.startswith("_")} <= set(offered)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("eventing.codec", ("redis", "torch", "boto3", "httpx", "structlog", "starlette")),
        ("eventing.publisher", ("redis", "torch", "boto3", "starlette")),
        ("eventing.dispatch", ("redis", "torch", "boto3", "starlette")),
    ],
)
def test_what_is_not_loaded(module: str, never: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(never)!r}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


def test_the_codec_alone_uses_the_sdk() -> None:
    folders = ("eventing", "functions", "inference_service", "jobs", "local", "mochi")
    users = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if any("cloudevents" in _imported(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    ]
    assert users == ["eventing/codec.py"]


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {str(node.module).partition(".")[0]}
    return set()
