"""The schemas of what our manifests hold, as a cluster publishes them: `schemas.json.gz` beside this file.

`python -m tests.manifests.schemas serving=… eventing=… kserve=…`, with the versions that it has, writes the
file anew from the cluster of KUBECONFIG: after a change of them, or for a kind that is new in the manifests.
Descriptions are left out, and what a schema does not name is refused, as `kubectl --validate=strict` does.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.manifests.rendered import VARIANTS, Resource, render

__all__ = ["errors_of", "fetched", "kinds_of_the_manifests", "stored"]

_FILE = Path(__file__).with_name("schemas.json.gz")
_SECONDS = 60
_REF = "#/components/schemas/"
#: Of a schema, what says nothing about a value.
_DROPPED = {"description", "default", "format", "example", "externalDocs", "title", "discriminator"}


def kinds_of_the_manifests() -> set[tuple[str, str]]:
    """ApiVersion and kind of all that any overlay makes."""
    return {(r["apiVersion"], r["kind"]) for variant in VARIANTS for r in render(*variant)}


@cache
def stored() -> Mapping[str, Any]:
    """`versions`, `kinds` (`apiVersion/kind` to the name of its definition) and `$defs`."""
    found: Mapping[str, Any] = json.loads(gzip.decompress(_FILE.read_bytes()))
    return found


def errors_of(resource: Resource) -> list[str]:
    """What is wrong with a resource: where, and what. Raises KeyError for a kind that has no schema here."""
    validator = _validator(stored()["kinds"][f"{resource['apiVersion']}/{resource['kind']}"])
    found = sorted(validator.iter_errors(resource), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": stored()["$defs"]})


def fetched(kinds: set[tuple[str, str]]) -> dict[str, Any]:
    """The same, from the cluster."""
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}
    for version in sorted({version for version, _ in kinds}):
        schemas = _published(version)
        for kind in sorted(kind for of, kind in kinds if of == version):
            name = names[f"{version}/{kind}"] = _name(schemas, version, kind)
            for needed in _reached(schemas, name):
                definitions[needed] = _strict(schemas[needed])
    return {"kinds": names, "$defs": dict(sorted(definitions.items()))}


def _published(version: str) -> Mapping[str, Any]:
    path = f"/openapi/v3/{'apis' if '/' in version else 'api'}/{version}"
    found: Mapping[str, Any] = json.loads(_kubectl("get", "--raw", path))["components"]["schemas"]
    return found


def _name(schemas: Mapping[str, Any], version: str, kind: str) -> str:
    group, _, number = version.rpartition("/")
    wanted = {"group": group, "kind": kind, "version": number}
    (name,) = (n for n, s in schemas.items() if s.get("x-kubernetes-group-version-kind") == [wanted])
    return str(name)


def _reached(schemas: Mapping[str, Any], name: str) -> set[str]:
    seen, left = set[str](), [name]
    while left:
        if (at := left.pop()) not in seen:
            seen.add(at)
            left.extend(_references(schemas[at]))
    return seen


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix(_REF)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI schema as a JSON Schema that refuses what it does not name."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref'].removeprefix(_REF)}"}
    kept = {k: v for k, v in schema.items() if k not in _DROPPED and not k.startswith("x-kubernetes-")}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if "properties" in kept and "additionalProperties" not in kept and not free:
        kept["additionalProperties"] = False
    for word in ("properties", "patternProperties"):
        if word in kept:
            kept[word] = {name: _strict(value) for name, value in kept[word].items()}
    for word in ("items", "additionalProperties", "not"):
        if isinstance(kept.get(word), dict):
            kept[word] = _strict(kept[word])
    for word in ("allOf", "anyOf", "oneOf"):
        if word in kept:
            kept[word] = [_strict(value) for value in kept[word]]
    return {"anyOf": [kept, {"type": "null"}]} if kept.pop("nullable", False) else kept


def _versions() -> dict[str, str]:
    server = json.loads(_kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    return {"kubernetes": server}


def _kubectl(*arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments],  # noqa: S607  # whichever the person uses
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout


def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    versions = _versions() | dict(text.split("=", 1) for text in arguments)
    assert versions.keys() == {"kubernetes", "serving", "eventing", "kserve"}, __doc__
    whole = {"versions": versions, **fetched(kinds_of_the_manifests())}
    text = json.dumps(whole, separators=(",", ":"), sort_keys=True)
    _FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{_FILE.name}: {_FILE.stat().st_size / 1000:.0f} kB")  # noqa: T201  # a program for a person


if __name__ == "__main__":
    main(sys.argv[1:])
