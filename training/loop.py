"""The training loop: phases, learning rate, averaged weights, and checkpoints that survive any stop.

Every random number of a step follows from the seed and the step's number, and the number of steps is
written down before the first of them, so a run that was killed and started again is the same run.
Knows no model and no data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Budget", "Phase", "Task", "averaged", "log", "save_atomically", "train"]

_WARM_UP = 50  # steps
_FLOOR = 0.01  # of the learning rate, at the end
_AVERAGE = 0.998  # how much of the averaged weights a step keeps
_OPTIMIZER = 1.25  # a step's time, of that of its loss and gradient


@dataclass(frozen=True)
class Phase:
    """A part of a stage with batches of its own; `share` is its part of the stage's time."""

    name: str
    share: float


@dataclass(frozen=True)
class Budget:
    """How long a stage may take: about `minutes`, or exactly `steps` where they are given.

    It is saved after each `save_seconds`, and its `samples` are written twice a phase.
    """

    minutes: float
    steps: int | None = None
    save_seconds: float = 60.0
    samples: bool = True


class Task(Protocol):
    """What is trained."""

    @property
    def name(self) -> str:
        """What its checkpoint is called."""
        ...

    @property
    def phases(self) -> Sequence[Phase]:
        """In their order."""
        ...

    @property
    def module(self) -> nn.Module:
        """All that is trained."""
        ...

    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """Each group of parameters has its highest learning rate as `peak`."""
        ...

    def loss(self, phase: str, rng: np.random.Generator) -> Tensor:
        """The loss of one batch, all chance taken from `rng`."""
        ...

    def report(self, folder: Path, step: int) -> str:
        """Write samples of the averaged weights into `folder`; say in a few words how good they are."""
        ...


def log(folder: Path, words: str) -> None:
    """Print a line with the time, and keep it in the folder's log."""
    line = f"{time.strftime('%H:%M:%S')} {words}"
    print(line, flush=True)
    with (folder / "log.txt").open("a") as file:
        file.write(line + "\n")


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` that then takes its place, whole or not at all."""
    part = path.with_name(f".part-{path.name}")
    write(part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def averaged(task: Task, folder: Path) -> None:
    """Put the averaged weights of the finished or running stage into the task's module."""
    task.module.load_state_dict(torch.load(_checkpoint(task, folder), weights_only=True)["average"])


def train(task: Task, folder: Path, budget: Budget, seed: int) -> None:
    """Train `task` to its end, going on from its checkpoint in `folder` where there is one."""
    state = _restored(task, folder)
    names = [phase.name for phase in task.phases]
    saved, losses = time.monotonic(), list[float]()
    for index, phase in enumerate(task.phases):
        if phase.name not in state["plan"]:
            state["plan"][phase.name] = _steps(task, phase, budget)
            log(folder, f"{task.name}/{phase.name}: {state['plan'][phase.name]} steps")
            _save(task, folder, state)
        planned = state["plan"][phase.name]
        before = sum(state["plan"][name] for name in names[:index])
        share_before = sum(p.share for p in task.phases[:index])
        began, first = time.monotonic(), state["step"]
        every = max(1, planned // 2)
        while state["step"] < before + planned:
            step = state["step"]
            _set_rates(task, step, share_before + phase.share * (step - before) / planned)
            losses.append(_step(task, phase.name, (seed, index, step)))
            _average(state["average"], task.module, step)
            state["step"] = step + 1
            done = step + 1 - before
            if done % 25 == 0 or done == planned:
                left = (time.monotonic() - began) / (step + 1 - first) * (planned - done)
                loss = sum(losses) / len(losses)
                losses.clear()
                log(
                    folder,
                    f"{task.name}/{phase.name} {done}/{planned} loss {loss:.5f}, {left / 60:.1f} min left",
                )
            if time.monotonic() - saved > budget.save_seconds or done == planned:
                _save(task, folder, state)
                saved = time.monotonic()
            if budget.samples and (done % every == 0 or done == planned):
                log(folder, f"{task.name}/{phase.name} {done}: {_reported(task, folder, state)}")


def _step(task: Task, phase: str, seed: Sequence[int]) -> float:
    loss = task.loss(phase, np.random.default_rng(seed))
    loss.backward()  # type: ignore[no-untyped-call]  # torch types few of its methods
    nn.utils.clip_grad_norm_(task.module.parameters(), 1.0)
    for optimizer in task.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    value = float(loss.detach())
    if not np.isfinite(value):
        raise FloatingPointError(f"{task.name}: the loss is {value}")
    return value


def _steps(task: Task, phase: Phase, budget: Budget) -> int:
    """The number of steps: as given, else as many as fit the phase's time if the machine stays as busy."""
    if budget.steps is not None:
        return max(1, round(budget.steps * phase.share))
    times = []
    for probe in range(6):
        began = time.monotonic()
        task.loss(phase.name, np.random.default_rng(probe)).backward()  # type: ignore[no-untyped-call]  # as above
        times.append(time.monotonic() - began)
    task.module.zero_grad()
    return max(1, round(budget.minutes * 60 * phase.share / (_OPTIMIZER * sorted(times)[3])))


def _set_rates(task: Task, step: int, progress: float) -> None:
    cosine = _FLOOR + (1 - _FLOOR) * (1 + cos(pi * progress)) / 2
    for optimizer in task.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * cosine * min(1.0, (step + 1) / _WARM_UP)


@torch.no_grad()
def _average(average: Mapping[str, Tensor], module: nn.Module, step: int) -> None:
    keep = min(_AVERAGE, (1 + step) / (10 + step))
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)


def _reported(task: Task, folder: Path, state: Mapping[str, Any]) -> str:
    now = {name: value.clone() for name, value in task.module.state_dict().items()}
    task.module.load_state_dict(state["average"])
    words = task.report(folder, state["step"])
    task.module.load_state_dict(now)
    return words


def _checkpoint(task: Task, folder: Path) -> Path:
    return folder / f"{task.name}.pt"


def _restored(task: Task, folder: Path) -> dict[str, Any]:
    path = _checkpoint(task, folder)
    if not path.exists():
        average = {name: value.clone() for name, value in task.module.state_dict().items()}
        return {"plan": {}, "step": 0, "average": average}
    state: dict[str, Any] = torch.load(path, weights_only=True)
    task.module.load_state_dict(state.pop("module"))
    for optimizer, kept in zip(task.optimizers, state.pop("optimizers"), strict=True):
        optimizer.load_state_dict(kept)
    log(folder, f"{task.name}: going on at step {state['step']}")
    return state


def _save(task: Task, folder: Path, state: Mapping[str, Any]) -> None:
    whole = {
        **state,
        "module": task.module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in task.optimizers],
    }
    save_atomically(_checkpoint(task, folder), lambda part: torch.save(whole, part))
