"""`python -m eventing.schemas`: write the JSON Schemas and say where."""

from __future__ import annotations

import sys

from eventing.schemas import write_schemas

for path in write_schemas():
    sys.stdout.write(f"{path}\n")
