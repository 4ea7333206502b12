"""The operations page against the code: the metrics and the log lines that it names are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from functions.submit.metrics import Metrics
from inference_service import metrics as predictor_metrics

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
PACKAGES = ("functions", "inference_service", "jobs", "eventing")


def names_of(table: str) -> list[str]:
    """What the first column of the table with this heading names."""
    rows = re.search(rf"^\| {table} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert rows is not None
    cells = [row.split("|")[1] for row in rows[1].splitlines()]
    return re.findall(r"`([a-z_]+)`", " ".join(cells))


@cache
def logged() -> set[str]:
    """The first argument of every call of a `log` in the code, where it is a text."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                    first = node.args[0]
                    if node.func.attr in {"info", "warning", "error", "exception"}:
                        found |= {
                            c.value
                            for c in ast.walk(first)
                            if isinstance(c, ast.Constant) and isinstance(c.value, str)
                        }
    return found


@pytest.mark.parametrize("name", names_of("metric"))
def test_a_metric_is_there(name: str) -> None:
    assert predictor_metrics.JOBS is not None  # they register themselves when they are imported
    known = {metric.name for registry in (Metrics().registry, REGISTRY) for metric in registry.collect()}
    assert name.removesuffix("_total") in known


@pytest.mark.parametrize("name", names_of("event"))
def test_a_log_line_is_there(name: str) -> None:
    assert name in logged()
