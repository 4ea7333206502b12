"""Who may import whom, read from the source of every module, and what `__all__` says.

Imports run one way: functions → eventing → jobs ← inference_service, and inference_service → eventing.
The client imports none of them; `local` may import all; only `mochi up` and `mochi demo` import `local`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Each package, and which of the others it may import.
MAY_IMPORT = {
    "jobs": set[str](),
    "eventing": {"jobs"},
    "functions": {"jobs", "eventing"},
    "inference_service": {"jobs", "eventing"},
    "mochi": {"local"},  # two commands only: see below
    "local": {"jobs", "eventing", "functions", "inference_service", "mochi"},
}

WEB = {"fastapi", "functions_framework", "kserve", "starlette", "uvicorn"}
MODELS = {"accelerate", "diffusers", "torch", "transformers"}
#: What of the outside each package never imports.
NEVER = {
    "jobs": WEB | MODELS | {"cloudevents"},
    "eventing": WEB | MODELS | {"boto3", "botocore", "redis"},
    "functions": MODELS | {"kserve", "redis"},
    "inference_service": {"boto3", "botocore", "functions_framework", "redis"},
    "mochi": WEB | MODELS | {"boto3", "botocore", "cloudevents", "pydantic", "redis", "structlog"},
    "local": MODELS | {"cloudevents", "functions_framework", "kserve"},
}
#: What only these files import.
IMPORTERS = {
    "cloudevents": {"eventing/codec.py"},
    # Of one adapter: the first loads what the second runs.
    "diffusers": {"inference_service/mochi_loading.py", "inference_service/mochi_pipeline.py"},
}


@dataclass(frozen=True)
class Import:
    """One import statement: the module's full name, and whether it runs when the file is loaded."""

    module: str
    at_load: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One file."""

    path: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.partition("/")[0]

    @property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, at_load=True))

    @property
    def names(self) -> set[str]:
        """What the file binds at its top level, under `if` and `try` too."""
        return set(_bound(self.tree.body))

    @property
    def exported(self) -> list[str] | None:
        """Its `__all__`."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                assert node.value is not None
                found: list[str] = ast.literal_eval(node.value)
                return found
        return None


def _imports(node: ast.AST, *, at_load: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, at_load) for alias in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            yield from (Import(f"{module}.{alias.name}", at_load) for alias in names)
        case ast.ImportFrom():
            raise AssertionError("imports are absolute, so that this test can read them")
    at_load = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, at_load=at_load)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname or alias.name).partition(".")[0] for alias in names)
            case ast.Assign(targets=targets):
                yield from (t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If(body=then, orelse=other) | ast.Try(body=then, orelse=other):
                yield from _bound([*then, *other])


@cache
def modules() -> tuple[Module, ...]:
    paths = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
    return tuple(Module(str(p.relative_to(ROOT)), ast.parse(p.read_text("utf-8"))) for p in paths)


def importers(package: str) -> set[str]:
    return {m.path for m in modules() if m.package != package and package in {i.package for i in m.imports}}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    mine = [m for m in modules() if m.package == package]
    assert mine
    others = MAY_IMPORT.keys() - MAY_IMPORT[package] - {package} | NEVER[package] | {"tests", "bench"}
    wrong = {f"{m.path} imports {i.module}" for m in mine for i in m.imports if i.package in others}
    assert not wrong


@pytest.mark.parametrize(("package", "paths"), IMPORTERS.items())
def test_one_adapter_stands_before_a_library(package: str, paths: set[str]) -> None:
    assert importers(package) == paths


def test_the_client_imports_what_it_installs_and_no_more() -> None:
    used = {i.package for m in modules() if m.package == "mochi" for i in m.imports}
    assert used - sys.stdlib_module_names - {"mochi", "local"} == {"httpx", "rich", "typer"}


def test_only_up_and_demo_import_the_local_system_and_when_asked() -> None:
    found = [
        (m.path, i) for m in modules() if m.package == "mochi" for i in m.imports if i.package == "local"
    ]
    assert {path for path, _ in found} == {"mochi/machine.py"}
    assert sorted(i.module for _, i in found) == ["local.demo.run", "local.up.run"]
    assert not any(i.at_load for _, i in found)


def _place(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts them."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_all_is_sorted_and_true(module: Module) -> None:
    exported = module.exported
    if exported is None:
        # A package that only says what it is, or an entry point that nobody imports.
        assert Path(module.path).name in {"__init__.py", "__main__.py", "main.py"}
        return
    assert exported == sorted(exported, key=_place)
    assert len(exported) == len(set(exported))
    assert set(exported) <= module.names


def test_no_private_name_is_exported_or_imported_from_elsewhere() -> None:
    for module in modules():
        assert not [name for name in module.exported or [] if name.startswith("_")], module.path
        wrong = [i.module for i in module.imports if i.package in MAY_IMPORT and "._" in i.module]
        assert not wrong, module.path


def test_the_public_api_is_there() -> None:
    code = "import mochi; print(*(n for n in mochi.__all__ if 'mochi' not in getattr(mochi, n).__module__))"
    assert _python(code) == ""
    assert _python("import mochi; print(mochi.__all__ == sorted(mochi.__all__))") == "True"


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import a.b as c
if True:
    from d import e
try:
    import f
except ImportError:
    import g
def function():
    with x:
        from h.i import j
class C:
    async def method(self):
        import k
"""
    module = Module("x/y.py", ast.parse(source))
    assert [(i.module, i.at_load) for i in module.imports] == [
        ("a.b", True),
        ("d.e", True),
        ("f", True),
        ("g", True),
        ("h.i.j", False),
        ("k", False),
    ]
    assert module.names == {"c", "e", "f", "function", "C"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mochi; mochi.Client; mochi.AsyncClient", NEVER["mochi"] | MAY_IMPORT.keys() - {"mochi"}),
        ("import mochi", {"httpx", "rich", "typer", "asyncio"}),
        ("import jobs.store, jobs.request, jobs.settings", NEVER["jobs"]),
        ("import eventing.codec, eventing.publisher", NEVER["eventing"]),
        ("import functions.wiring, functions.submit.api", NEVER["functions"] - {"redis"} | {"boto3"}),
    ],
)
def test_a_process_loads_no_more_than_it_needs(code: str, absent: set[str]) -> None:
    loaded = set(_python(f"{code}\nimport sys\nprint(*sys.modules)").split())
    assert not loaded & absent


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
