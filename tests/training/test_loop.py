"""The loop with a model of two numbers: what it leaves after any stop, and that its learning adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.loop import Budget, Phase, averaged, keep_to, train
from training.muon import Muon


class Stopped(Exception):
    """In place of a kill, at a step that the test chooses."""


class Line:
    """Learns y = 3 x + 1, first from small x, then from large."""

    name = "line"
    phases: tuple[Phase, ...] = (Phase("small", 0.25), Phase("large", 0.75))

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon([{"params": [self.module.weight], "peak": 0.2}], lr=0.2, weight_decay=0.0),
            torch.optim.AdamW([{"params": [self.module.bias], "peak": 0.05}], lr=0.05, weight_decay=0.0),
        ]
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


EVERY_STEP = Budget(minutes=1, steps=40, save_seconds=0, samples=False)
RARELY = replace(EVERY_STEP, save_seconds=1000)
LONG = replace(RARELY, steps=400)


def trained(folder: Path, stop_at: int | None = None, budget: Budget = EVERY_STEP) -> Line:
    task = Line(stop_at)
    train(task, folder, budget, seed=5)
    averaged(task, folder)
    return task


def test_it_learns_phase_by_phase(tmp_path: Path) -> None:
    task = trained(tmp_path, budget=LONG)
    assert task.seen == ["small"] * 100 + ["large"] * 300
    assert task.module.weight.item() == pytest.approx(3, abs=0.05)
    assert task.module.bias.item() == pytest.approx(1, abs=0.05)


def test_the_learning_rate_falls_and_begins_again_where_a_phase_says_so(tmp_path: Path) -> None:
    class Restarted(Line):
        phases = (Phase("one", 0.2), Phase("two", 0.3), Phase("again", 0.5, restart=0.5))

        def report(self, folder: Path, step: int) -> str:
            rates[step] = self.optimizers[0].param_groups[0]["lr"] / 0.2
            return super().report(folder, step)

    rates: dict[int, float] = {}
    train(Restarted(), tmp_path, replace(LONG, steps=1000, samples=True), seed=5)
    # At half and at the end of 200, 300 and 500 steps: a cosine over the first 500, another over the others.
    expected = {100: 0.906, 200: 0.659, 350: 0.213, 500: 0.01, 750: 0.256, 1000: 0.01}
    assert rates == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("stop_at", [0, 1, 9, 10, 11, 39])
@pytest.mark.parametrize("budget", [EVERY_STEP, RARELY], ids=["saved every step", "saved rarely"])
def test_stopped_anywhere_it_ends_the_same(tmp_path: Path, stop_at: int, budget: Budget) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = trained(whole, budget=budget).module.state_dict()
    with pytest.raises(Stopped):
        trained(cut, stop_at, budget)
    assert not list(cut.glob(".part-*"))
    again = trained(cut, budget=budget)
    assert len(again.seen) <= 40 - (stop_at if budget == EVERY_STEP else 0)
    for name, value in again.module.state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_torn_file_beside_the_checkpoint_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".part-line.pt").write_bytes(b"PK\x03\x04 torn")
    assert len(trained(tmp_path).seen) == 40


def test_the_number_of_steps_is_measured_once(tmp_path: Path) -> None:
    budget = Budget(minutes=0.0005, save_seconds=1000, samples=False)
    train(Line(), tmp_path, budget, seed=5)
    plan = torch.load(tmp_path / "line.pt", weights_only=True)["plan"]
    assert set(plan) == {"small", "large"}
    again = Line(stop_at=0)  # finished: no step is left, whatever the budget says now
    train(again, tmp_path, Budget(minutes=10, steps=10_000, samples=False), seed=5)
    assert again.seen == []


def test_more_minutes_are_more_steps(tmp_path: Path) -> None:
    plans = []
    for minutes in (1e-9, 60):  # a step takes far more than nothing, and far less than seven seconds
        folder = tmp_path / str(minutes)
        folder.mkdir()
        with pytest.raises(Stopped):
            train(Line(stop_at=7), folder, Budget(minutes, samples=False), seed=5)
        plans.append(torch.load(folder / "line.pt", weights_only=True)["plan"])
    assert plans[0] == {"small": 1}
    assert plans[1]["small"] > 100


def test_samples_are_of_the_averaged_weights_and_change_nothing(tmp_path: Path) -> None:
    plain, sampled = tmp_path / "plain", tmp_path / "sampled"
    plain.mkdir()
    sampled.mkdir()
    budget = replace(RARELY, steps=44)
    expected = trained(plain, budget=budget).module.state_dict()
    with_samples = trained(sampled, budget=replace(budget, samples=True)).module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in with_samples.items())
    assert {int(path.name.removeprefix("line-")) for path in sampled.glob("line-*")} == {5, 11, 27, 44}


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    task = Line()
    with torch.no_grad():
        task.module.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="line: the loss is nan"):
        train(task, tmp_path, EVERY_STEP, seed=5)


def test_a_gradient_that_is_no_number_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    class Cornered(Line):
        def loss(self, phase: str, rng: np.random.Generator) -> Tensor:
            loss = super().loss(phase, rng)
            if len(self.seen) == 3:
                loss = loss + (0 * loss).sqrt()  # 0, and infinitely steep
            return loss

    task = Cornered()
    with pytest.raises(FloatingPointError, match="the length of its gradient nan"):
        train(task, tmp_path, EVERY_STEP, seed=5)
    kept = torch.load(tmp_path / "line.pt", weights_only=True)
    assert kept["step"] == 2
    for name, value in task.module.state_dict().items():
        assert torch.equal(value, kept["module"][name])


def test_a_folder_goes_on_with_the_run_that_it_began_with(tmp_path: Path) -> None:
    for _ in range(2):
        keep_to(tmp_path, seed=1, clips=6)
    with pytest.raises(ValueError, match=r"'seed': 1, 'clips': 6.*'seed': 2, 'clips': 6"):
        keep_to(tmp_path, seed=2, clips=6)
    keep_to(tmp_path, seed=1, clips=6)


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
