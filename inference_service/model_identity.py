"""Which model this is: what its latents depend on, as short texts that are the same wherever it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["model_identity"]

#: Numbers looked at of each weight. To read all of 40 GB would take as long as to load them; a model that
#: was trained further differs in nearly every number.
_SAMPLE = 256


def model_identity(
    parts: Mapping[str, torch.nn.Module],
    configurations: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, str],
) -> dict[str, str]:
    """From the parts with weights, the configurations that have a say, and the versions of libraries.

    The digest is over the name, shape and type of each weight, and a sample of its numbers.
    """
    digest = hashlib.sha256()
    for part, configuration in sorted(configurations.items()):
        # What begins with an underscore is about the files, such as the folder that they were loaded from.
        facts = {name: value for name, value in configuration.items() if not name.startswith("_")}
        digest.update(f"{part} {json.dumps(facts, sort_keys=True, default=str)}".encode())
    for part, module in sorted(parts.items()):
        for name, weight in sorted(module.state_dict().items()):
            digest.update(f"{part}.{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(_sample(weight))
    dtype = str(next(parts["transformer"].parameters()).dtype).removeprefix("torch.")
    return {"weights": digest.hexdigest(), "dtype": dtype, "torch": torch.__version__, **versions}


def _sample(weight: torch.Tensor) -> bytes:
    flat = weight.detach().flatten()
    taken = flat[:: max(1, len(flat) // _SAMPLE)]
    return taken.cpu().contiguous().view(torch.uint8).numpy().tobytes()
