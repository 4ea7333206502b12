"""What the OpenAPI document is put together from: its schemas, and the parts of an operation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from functions.bodies import BODY_LIMIT
from functions.problems import MEDIA_TYPE
from functions.submit import models
from jobs.request import VideoRequest

__all__ = ["answer", "content", "headers", "parameter", "problems", "schemas"]

_REF = "#/components/schemas/"
_MODELS: tuple[type[BaseModel], ...] = (
    VideoRequest,
    models.Job,
    models.Page,
    models.Change,
    models.Download,
    models.Health,
    models.Problem,
)
_EXAMPLE = {"prompt": "a red circle moving right", "width": 848, "height": 480, "quality": "low"}
_PROBLEMS = {
    400: "What was sent is no CloudEvent; the problem names the attribute.",
    404: "There is no such job: it never existed or has expired.",
    409: "The job's status does not allow it; the problem names the status.",
    410: "The object store has lost the video.",
    413: f"The body is larger than {BODY_LIMIT} bytes.",
    415: "The content type is not application/json in UTF-8.",
    416: "The range begins behind the end of the video.",
    422: "What was sent is not valid; the problem names every wrong field.",
    429: "The queue's backlog is full; `Retry-After` says when to try again.",
    500: "A defect of the service.",
    503: "Redis, the object store or the model's profile is not there (yet); try again.",
}


def schemas() -> dict[str, Any]:
    """The schemas of the document's components."""
    _, document = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template=_REF + "{model}"
    )
    found: dict[str, Any] = document["$defs"]
    found["VideoRequest"]["examples"] = [_EXAMPLE]
    return found


def content(media_type: str, model: str) -> dict[str, Any]:
    """A body of this type, with the schema of this name."""
    return {media_type: {"schema": {"$ref": _REF + model}}}


def answer(description: str, model: str, described: dict[str, str] | None = None) -> dict[str, Any]:
    """A response in JSON; `described` are its headers."""
    return {
        "description": description,
        "content": content("application/json", model),
        **headers(described or {}),
    }


def headers(described: dict[str, str]) -> dict[str, Any]:
    """Headers of a response, by name."""
    found = {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}
    return {"headers": found} if found else {}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses that are problem documents; 500 is always among them."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted((*statuses, 500)):
        found[status] = {"description": _PROBLEMS[status], "content": content(MEDIA_TYPE, "Problem")}
    for status in {429, 503} & set(statuses):
        found[status] |= headers({"Retry-After": "Seconds."})
    return found


def parameter(name: str, where: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter in the path (required then), the query or a header."""
    return {
        "name": name,
        "in": where,
        "description": description,
        "schema": schema,
        "required": where == "path",
    }
