"""kubectl with JSON, for all namespaces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tests.cluster.setup.commands import SetupError, output

__all__ = ["Resource", "items", "kubectl"]

#: A resource of Kubernetes, as JSON.
Resource: TypeAlias = Mapping[str, Any]


def kubectl(*arguments: str, given: str | None = None) -> str:
    """What a command prints. Raises SetupError with what it says on its error output."""
    if shutil.which("kubectl") is None:
        raise SetupError("kubectl: not on the PATH")
    return output("kubectl", *arguments, given=given)


def items(*arguments: str) -> Sequence[Resource]:
    """The resources that `kubectl get` lists; none where the cluster does not know their kind."""
    found: Sequence[Resource] = json.loads(kubectl("get", *arguments, "-o", "json"))["items"]
    return found
