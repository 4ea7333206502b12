"""func.yaml: what `func invoke` must find beside submit, with the names of the manifests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def function() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "functions/submit/func.yaml").read_text("utf-8"))
    return loaded


def test_it_is_one_that_was_created_and_that_is_sent_events(function: dict[str, Any]) -> None:
    # Without a time `func` takes the folder for one that holds no function yet.
    assert datetime(2020, 1, 1, tzinfo=UTC) < function["created"]
    assert function["invoke"] == "cloudevent"
    assert function["runtime"] == "python"
    assert function["specVersion"] == "0.36.0"


def test_what_func_writes_beside_it_is_nobody_elses_matter() -> None:
    # It would write this line itself, into a file that git does not know.
    assert "/.func" in (ROOT / "functions/submit/.gitignore").read_text("utf-8").splitlines()


def test_it_has_the_name_of_the_knative_service(function: dict[str, Any]) -> None:
    service = yaml.safe_load((ROOT / "knative/functions/service-submit.yaml").read_text("utf-8"))
    assert function["name"] == service["metadata"]["name"]
    assert function["deploy"]["namespace"] == service["metadata"]["namespace"]
