"""The training loop: phases, learning rate, averaged weights, and checkpoints that survive any stop.

Every random number of a step follows from the seed and the step's number, and the number of steps is
written down before the first of them, so a run that was killed and is started again, by the same program
and with as many threads, is the same run.
Knows no model and no data.
"""

from __future__ import annotations

import json
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

__all__ = ["Budget", "Phase", "Task", "averaged", "keep_to", "log", "save_atomically", "train"]

_WARM_UP = 50  # steps
_FLOOR = 0.01  # of the learning rate, at the end
_AVERAGE = 0.998  # how much of the averaged weights a step keeps
_LOGGED = 25  # steps between two lines of the log
_OPTIMIZER = 1.25  # a step's time, of that of its loss and gradient


@dataclass(frozen=True)
class Phase:
    """A part of a stage with batches of its own; `share` is its part of the stage's time.

    The learning rate falls along a cosine to the end of the stage, or to a phase with a `restart`: that one
    begins again, at this part of the peak (SGDR, https://arxiv.org/abs/1608.03983).
    """

    name: str
    share: float
    restart: float | None = None


@dataclass(frozen=True)
class Budget:
    """How long a stage may take: about `minutes`, or `steps` (rounded in each phase) where they are given.

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


def keep_to(folder: Path, **facts: int) -> None:
    """Write down what this run is made of, once; raise ValueError where the folder holds another's."""
    path = folder / "run.json"
    if not path.exists():
        save_atomically(path, lambda part: part.write_text(json.dumps(facts), "utf-8"))
    began = json.loads(path.read_text("utf-8"))
    if began != facts:
        raise ValueError(f"{folder} holds a run of {began}, which cannot go on with {facts}")


def averaged(task: Task, folder: Path) -> None:
    """Put the averaged weights of the finished or running stage into the task's module."""
    task.module.load_state_dict(torch.load(_checkpoint(task, folder), weights_only=True)["average"])


def train(task: Task, folder: Path, budget: Budget, seed: int) -> None:
    """Train `task` to its end, going on from its checkpoint in `folder` where there is one.

    Raises FloatingPointError when the loss or its gradient is no number, with the weights as they were
    before that step; the next start draws the same batch and ends there, too.
    """
    state = _restored(task, folder)
    for index, phase in enumerate(task.phases):
        if phase.name not in state["plan"]:
            state["plan"][phase.name] = _steps(task, phase, budget)
            log(folder, f"{task.name}/{phase.name}: {state['plan'][phase.name]} steps")
            _save(task, folder, state)
        _train_phase(task, folder, budget, (seed, index), state)


def _train_phase(
    task: Task, folder: Path, budget: Budget, seed: tuple[int, int], state: dict[str, Any]
) -> None:
    phase, earlier = task.phases[seed[1]], task.phases[: seed[1]]
    planned, before = state["plan"][phase.name], sum(state["plan"][p.name] for p in earlier)
    progress = _Progress(folder, f"{task.name}/{phase.name}", planned)
    saved = time.monotonic()
    for step in range(state["step"], before + planned):
        done = step + 1 - before
        _set_rates(task, step, _rate(task.phases, seed[1], (done - 1) / planned))
        progress.add(done, _step(task, phase.name, (*seed, step)))
        _average(state["average"], task.module, step)
        state["step"] = step + 1
        # Samples first: a kill while they are made takes the steps since the last checkpoint again, and them.
        if budget.samples and done in (planned // 2, planned):
            log(folder, f"{task.name}/{phase.name} {done}: {_reported(task, folder, state)}")
        if time.monotonic() - saved > budget.save_seconds or done == planned:
            _save(task, folder, state)
            saved = time.monotonic()


class _Progress:
    """Logs a phase's loss and the time that is left."""

    def __init__(self, folder: Path, name: str, planned: int) -> None:
        self._folder, self._name, self._planned = folder, name, planned
        self._losses: list[float] = []
        self._steps, self._began = 0, time.monotonic()

    def add(self, done: int, loss: float) -> None:
        """One more step is done, `done` of the phase in all."""
        self._steps += 1
        self._losses.append(loss)
        if done % _LOGGED == 0 or done == self._planned:
            each = (time.monotonic() - self._began) / self._steps
            mean, left = sum(self._losses) / len(self._losses), each * (self._planned - done) / 60
            log(self._folder, f"{self._name} {done}/{self._planned} loss {mean:.5f}, {left:.1f} min left")
            self._losses.clear()


def _step(task: Task, phase: str, seed: Sequence[int]) -> float:
    loss = task.loss(phase, np.random.default_rng(seed))
    value = float(loss.detach())
    if not np.isfinite(value):
        raise FloatingPointError(f"{task.name}: the loss is {value}")
    loss.backward()  # type: ignore[no-untyped-call]  # torch types few of its methods
    length = float(nn.utils.clip_grad_norm_(task.module.parameters(), 1.0))
    if not np.isfinite(length):
        raise FloatingPointError(f"{task.name}: the loss is {value}, the length of its gradient {length}")
    for optimizer in task.optimizers:
        optimizer.step()
        optimizer.zero_grad()
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


def _rate(phases: Sequence[Phase], index: int, part: float) -> float:
    """The learning rate when `part` of a phase is done, of its peak."""
    first = max((k for k in range(index + 1) if phases[k].restart is not None), default=0)
    last = next((k for k in range(index + 1, len(phases)) if phases[k].restart is not None), len(phases))
    done = sum(p.share for p in phases[first:index]) + part * phases[index].share
    progress = done / sum(p.share for p in phases[first:last])
    highest = phases[first].restart or 1.0
    return _FLOOR + (highest - _FLOOR) * (1 + cos(pi * progress)) / 2


def _set_rates(task: Task, step: int, rate: float) -> None:
    for optimizer in task.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate * min(1.0, (step + 1) / _WARM_UP)


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
