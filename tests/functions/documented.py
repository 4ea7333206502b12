"""An HTTP client that holds every answer to what the OpenAPI document says of it."""

from __future__ import annotations

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

__all__ = ["Document", "client"]

PROBLEM = "application/problem+json"


class Document:
    """An OpenAPI document, as a judge of answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    async def check(self, answer: httpx.Response) -> None:
        """Fail where the answer is not what its operation promises."""
        operation = self._operation(answer.request)
        content_type = answer.headers.get("content-type", "").split(";")[0]
        if operation is None or answer.status_code == httpx.codes.METHOD_NOT_ALLOWED:
            assert answer.status_code in (404, 405), answer.status_code
            assert content_type == PROBLEM
            return
        found = f"{answer.request.method} {answer.request.url}: {answer.status_code} {content_type}"
        described = operation["responses"].get(str(answer.status_code))
        assert described is not None, f"{found}: an undocumented status"
        for name in described.get("headers", {}):
            assert name.lower() in answer.headers or name == "Idempotent-Replayed", f"{found}: no {name}"
        content = described.get("content")
        if content is None:
            await answer.aread()
            assert not answer.content, f"{found}: a body that is not documented"
            return
        assert content_type in content, f"{found}: a type that is not documented"
        if content_type.endswith("json") and answer.request.method != "HEAD":
            await answer.aread()
            self._validate(answer.json(), content[content_type]["schema"])

    def _operation(self, request: httpx.Request) -> dict[str, Any] | None:
        for template, methods in self.document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, request.url.path):
                found: dict[str, Any] | None = methods.get(request.method.lower())
                if found is None and request.method == "HEAD":
                    found = methods.get("get")
                return found
        return None

    def _validate(self, body: object, schema: dict[str, Any]) -> None:
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(body)


async def client(url: str) -> httpx.AsyncClient:
    """A client of the API at `url`, which checks each answer against the document found there."""
    async with httpx.AsyncClient() as first:
        document = Document((await first.get(f"{url}/openapi.json")).json())
    return httpx.AsyncClient(base_url=url, event_hooks={"response": [document.check]}, timeout=30)
