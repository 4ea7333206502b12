"""How the predictor's routes say that something went wrong."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from eventing.short_problems import MAX_BYTES
from inference_service.http_errors import kserve_error, problem
from jobs.errors import FieldError, InvalidRequest

FEW = [FieldError("type", "'x' is not handled here", "dev.mochi.generation.requested")]
MANY = [
    FieldError(f"field{n}", "is unknown", "id, source, type, specversion, subject, time") for n in range(30)
]


@pytest.mark.parametrize("errors", [FEW, MANY])
def test_a_problem_fits_into_a_dead_letter(errors: list[FieldError]) -> None:
    answer = problem(InvalidRequest(errors))
    found = json.loads(bytes(answer.body))
    assert len(answer.body) <= MAX_BYTES
    assert found["detail"].startswith(f"{errors[0].field}: {errors[0].problem}")
    assert ("errors" in found) is (errors is FEW)


async def test_callers_of_kserve_are_told_all() -> None:
    answer = await kserve_error(Request({"type": "http"}), InvalidRequest(MANY))
    assert len(json.loads(bytes(answer.body))["errors"]) == len(MANY)
