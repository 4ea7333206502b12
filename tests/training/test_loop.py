"""The loop with a model of two numbers: what it leaves after any stop, and that its learning adds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.loop import Budget, Phase, averaged, train
from training.muon import Muon


class Stopped(Exception):
    """In place of a kill, at a step that the test chooses."""


class Line:
    """Learns y = 3 x + 1, first from small x, then from large."""

    name = "line"
    phases = (Phase("small", 0.25), Phase("large", 0.75))

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)
        group = {"params": list(self.module.parameters()), "peak": 0.05}
        self.optimizers = [torch.optim.AdamW([group], lr=0.05, weight_decay=0.0)]
        self.seen: list[str] = []
        self.stop_at = stop_at

    def loss(self, phase: str, rng: np.random.Generator) -> Tensor:
        if len(self.seen) == self.stop_at:
            raise Stopped
        self.seen.append(phase)
        x = torch.from_numpy(rng.standard_normal((16, 1), np.float32)) * (1 if phase == "small" else 2)
        loss: Tensor = ((self.module(x) - (3 * x + 1)) ** 2).mean()
        return loss

    def report(self, folder: Path, step: int) -> str:
        (folder / f"line-{step}").touch()
        return "fine"


EVERY_STEP = Budget(minutes=1, steps=400, save_seconds=0, samples=False)


def trained(folder: Path, stop_at: int | None = None, budget: Budget = EVERY_STEP) -> Line:
    task = Line(stop_at)
    train(task, folder, budget, seed=5)
    averaged(task, folder)
    return task


def test_it_learns_phase_by_phase(tmp_path: Path) -> None:
    task = trained(tmp_path)
    assert task.seen == ["small"] * 100 + ["large"] * 300
    assert task.module.weight.item() == pytest.approx(3, abs=0.05)
    assert task.module.bias.item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("stop_at", [0, 1, 99, 100, 101, 399])
@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
def test_stopped_anywhere_it_ends_the_same(tmp_path: Path, stop_at: int, save_seconds: float) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    budget = Budget(minutes=1, steps=400, save_seconds=save_seconds, samples=False)
    expected = trained(whole, budget=budget).module.state_dict()
    with pytest.raises(Stopped):
        trained(cut, stop_at, budget)
    assert not list(cut.glob(".part-*"))
    again = trained(cut, budget=budget)
    assert len(again.seen) <= 400 - (stop_at if save_seconds == 0 else 0)
    for name, value in again.module.state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_torn_file_beside_the_checkpoint_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".part-line.pt").write_bytes(b"PK\x03\x04 torn")
    assert len(trained(tmp_path).seen) == 400


def test_the_number_of_steps_is_measured_once(tmp_path: Path) -> None:
    budget = Budget(minutes=0.0005, save_seconds=1000, samples=False)
    train(Line(), tmp_path, budget, seed=5)
    plan = torch.load(tmp_path / "line.pt", weights_only=True)["plan"]
    assert set(plan) == {"small", "large"}
    again = Line(stop_at=0)  # finished: no step is left, whatever the budget says now
    train(again, tmp_path, Budget(minutes=10, steps=10_000, samples=False), seed=5)
    assert again.seen == []


def test_samples_are_of_the_averaged_weights_and_change_nothing(tmp_path: Path) -> None:
    plain, sampled = tmp_path / "plain", tmp_path / "sampled"
    plain.mkdir()
    sampled.mkdir()
    expected = trained(plain).module.state_dict()
    with_samples = trained(sampled, budget=Budget(1, 400, 1000, samples=True)).module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in with_samples.items())
    assert {int(path.name.removeprefix("line-")) for path in sampled.glob("line-*")} == {50, 100, 250, 400}


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    task = Line()
    with torch.no_grad():
        task.module.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="line: the loss is nan"):
        train(task, tmp_path, EVERY_STEP, seed=5)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (8, 8)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape) * torch.logspace(-1, 1, shape[1])
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    scale = 0.1 * 0.2 * max(shape) ** 0.5
    values = torch.linalg.svdvals(weight.detach()) / scale
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3
    assert (weight * weight.grad).sum().item() < 0  # downhill
