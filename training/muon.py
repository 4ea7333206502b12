"""Muon: momentum whose matrices are made orthogonal, which small transformers learn from in fewer steps.

After Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024), with the scale of
Liu et al., "Muon is scalable for LLM training" (2025), so that Adam's learning rates fit. torch's own
computes in bfloat16, which few CPUs have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """For matrices, and for convolutions, whose filters it takes for the rows of one."""

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # it takes no closure
        """One step for every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():  # those of a shape at once
                self._step(weights, group)

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        updates = []
        for weight in weights:
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            assert weight.grad is not None
            state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
            nesterov = weight.grad.lerp(state["momentum"], group["momentum"])
            updates.append(nesterov.flatten(1))
        scale = 0.2 * max(updates[0].shape) ** 0.5
        for weight, update in zip(weights, _orthogonal(torch.stack(updates)), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(update.view(weight.shape), alpha=-group["lr"] * scale)


def _orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices whose singular values are about 1, by Newton and Schulz."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    nearest: Tensor = x.mT if tall else x
    return nearest
