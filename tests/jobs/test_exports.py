"""What a module of jobs/ says that it offers is there, sorted, and is all that others use."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import jobs

FOLDER = Path(jobs.__file__).parent
ROOT = FOLDER.parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@cache
def imported_from_jobs() -> dict[str, set[str]]:
    """Module of jobs/ → the names that any file of the project imports from it."""
    names: dict[str, set[str]] = {}
    for folder in ("jobs", "eventing", "functions", "inference_service", "local"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jobs."):
                    names.setdefault(str(node.module)[5:], set()).update(a.name for a in node.names)
    return names


@pytest.mark.parametrize("name", MODULES)
def test_all_is_sorted_and_true(name: str) -> None:
    module = import_module(f"jobs.{name}")
    assert module.__all__ == sorted(module.__all__, key=_as_ruff_sorts)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, one) for one in module.__all__)
    assert module.__doc__


@pytest.mark.parametrize("name", MODULES)
def test_all_has_whatever_is_imported(name: str) -> None:
    assert imported_from_jobs().get(name, set()) <= set(import_module(f"jobs.{name}").__all__)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    bare = name.lstrip("_")
    return (0 if bare.isupper() and len(bare) > 1 else 1 if bare[:1].isupper() else 2, name)


@pytest.mark.parametrize(
    "banned", ["fastapi", "starlette", "cloudevents", "torch", "functions_framework", "kserve"]
)
def test_the_domain_knows_no_framework(banned: str) -> None:
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert banned not in {m.split(".")[0] for m in modules}, path
