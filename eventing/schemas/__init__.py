"""JSON Schemas of the events' data, one file a type, made from the classes in `eventing/events.py`.

`python -m eventing.schemas` writes them; a test holds the files to the classes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eventing.events import EVENT_TYPES

__all__ = ["FOLDER", "schema_of", "schema_texts", "write_schemas"]

#: Where the files lie.
FOLDER = Path(__file__).parent


def schema_of(event_type: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type's data. Raises KeyError for an unknown type."""
    schema = EVENT_TYPES[event_type].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": event_type}


def schema_texts() -> dict[str, str]:
    """File name → text, for every type."""
    return {
        f"{name}.json": json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"
        for name in EVENT_TYPES
    }


def write_schemas(folder: Path = FOLDER) -> list[Path]:
    """Write every file. A schema of a type that is no more has to be removed by hand."""
    written = []
    for name, text in schema_texts().items():
        (folder / name).write_text(text, "utf-8")
        written.append(folder / name)
    return written
