"""The document is complete, valid against its own references, and true of what `Job.public()` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator

from functions import problems
from functions.submit import models
from functions.submit.api import create_app
from functions.submit.openapi import OPERATIONS
from functions.wiring import Wiring
from jobs.errors import FieldError, InvalidRequest, JobNotFound, MochiError, NotReady
from jobs.job import Job
from jobs.settings import Settings
from tests.functions.values import AT_WORK, COMPLETED, FAILED, WAITING

APP = create_app(Wiring(Settings(k_sink="http://127.0.0.1:9/", redis_url="redis://127.0.0.1:9/0")))
DOCUMENT: dict[str, Any] = APP.openapi()


def validator(name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {r.rsplit("/", 1)[-1] for r in references(DOCUMENT)} <= set(schemas)
    assert all(r.startswith("#/components/schemas/") for r in references(DOCUMENT))
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


#: What OpenAPI 3.1 asks of the objects that the document has (its own schema of them is not on this machine).
_STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"required": ["title", "version"], "properties": {"version": {"type": "string"}}},
        "paths": {
            "patternProperties": {
                "^/": {
                    "propertyNames": {"enum": ["get", "head", "post"]},
                    "additionalProperties": {"$ref": "#/$defs/operation"},
                }
            },
            "additionalProperties": False,
        },
    },
    "$defs": {
        "operation": {
            "required": ["operationId", "responses", "summary", "description"],
            "properties": {
                "parameters": {"items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {
                    "required": ["content"],
                    "properties": {"content": {"$ref": "#/$defs/content"}},
                },
                "responses": {
                    "minProperties": 1,
                    "patternProperties": {"^[1-5][0-9][0-9]$": {"$ref": "#/$defs/response"}},
                    "additionalProperties": False,
                },
                "operationId": {"minLength": 1},
                "summary": {"minLength": 1},
                "description": {"minLength": 1},
            },
            "additionalProperties": False,
        },
        "parameter": {
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["path", "query", "header"]}, "schema": {"type": "object"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"properties": {"required": {"const": True}}},
        },
        "response": {
            "required": ["description"],
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "headers": {"additionalProperties": {"required": ["schema"]}},
                "content": {"$ref": "#/$defs/content"},
            },
            "additionalProperties": False,
        },
        "content": {
            "propertyNames": {"pattern": "^[a-z]+/[a-z0-9.+-]+$"},
            "additionalProperties": {
                "required": ["schema"],
                "properties": {"examples": {"additionalProperties": {"required": ["value"]}}},
            },
        },
    },
}


def test_the_document_is_openapi() -> None:
    Draft202012Validator.check_schema(_STRUCTURE)
    Draft202012Validator(_STRUCTURE).validate(DOCUMENT)
    for path, method, operation in operations():
        parameters = [(p["name"].lower(), p["in"]) for p in operation.get("parameters", [])]
        assert len(parameters) == len(set(parameters)), (path, method)


def test_every_route_is_described() -> None:
    routes = {(r.path, m.lower()) for r in APP.routes if isinstance(r, APIRoute) for m in r.methods or ()}
    assert {(path, method) for path, method, _ in operations()} == routes
    assert len({o["operationId"] for _, _, o in operations()}) == len(routes)
    assert {o["operationId"] for _, _, o in operations()} == set(OPERATIONS)
    for path, _, operation in operations():
        assert operation["summary"]
        assert operation["description"]
        assert "Raises" not in operation["description"]  # a docstring for readers of the code
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_only_statuses_that_are_answered_are_named() -> None:
    found = {o["operationId"]: set(o["responses"]) for _, _, o in operations()}
    assert found["submitJob"] == {"202", "413", "415", "422", "429", "500", "503"}
    assert found["cancelJob"] == {"200", "202", "404", "409", "500", "503"}
    assert found["getResult"] == {
        *("200", "206", "304", "307"),
        *("404", "409", "410", "416", "422", "500", "503"),
    }
    assert found["getRoot"] == {"307"}
    assert found["getJob"] == {"200", "404", "500", "503"}


def test_every_error_is_a_problem() -> None:
    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == [problems.MEDIA_TYPE]


@pytest.mark.parametrize("job", [WAITING, AT_WORK, COMPLETED, FAILED], ids=lambda job: str(job.status))
def test_a_job_is_what_the_document_says(job: Job) -> None:
    validator("Job").validate(job.public())
    models.Job.model_validate(job.public())  # forbids what it does not name
    assert set(job.public()) == set(models.Job.model_fields)
    assert set(job.public()["request"]) == set(models.Spec.model_fields)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest([FieldError("width", "850 is not allowed", "multiples of 16")]),
        JobNotFound("abc"),
        NotReady("abc", "pending"),
    ],
    ids=lambda error: error.slug,
)
def test_a_problem_is_what_the_document_says(error: MochiError) -> None:
    validator("Problem").validate(problems.document(error))


def test_the_example_of_a_request_is_valid() -> None:
    (example,) = DOCUMENT["components"]["schemas"]["VideoRequest"]["examples"]
    validator("VideoRequest").validate(example)
    assert not validator("VideoRequest").is_valid({**example, "unknown": 1})
    assert not validator("VideoRequest").is_valid({})
