"""The supervisor, over real processes that are small."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.errors import CannotStart
from local.pauses import GrowingPause
from local.supervisor import Supervisor
from local.warden import Warden
from tests.local.fakes import STUBBORN, Stage, alive, eventually


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
async def warden(tmp_path: Path) -> AsyncIterator[Warden]:
    async with Warden(tmp_path / "guardian.log", {}) as warden:
        yield warden


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def back() -> list[str]:
    """The programs that are ready again."""
    return []


@pytest.fixture
async def supervisor(warden: Warden, told: list[str], back: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(warden, told.append, pause=lambda: GrowingPause(first=0.01), again=back.append)
    yield supervisor
    await supervisor.stop([])


async def test_a_group_starts_once_the_one_before_it_is_ready(supervisor: Supervisor, stage: Stage) -> None:
    await supervisor.start([stage.program("redis"), stage.program("s3")])
    first = {name for _, name, _ in stage.notes("ready")}
    await supervisor.start([stage.program("submit")])
    assert first == {"redis", "s3"}
    assert stage.notes("ready")[2][1] == "submit"


async def test_stops_in_the_order_that_it_is_given(supervisor: Supervisor, stage: Stage) -> None:
    await supervisor.start([stage.program(name) for name in ("a", "b", "c")])
    await supervisor.stop([["b"], ["c"], ["a"]])
    assert [name for _, name, _ in stage.notes("stop")] == ["b", "c", "a"]
    assert not any(alive(pid) for _, _, pid in stage.notes())


async def test_what_no_order_names_is_stopped_last(supervisor: Supervisor, stage: Stage) -> None:
    await supervisor.start([stage.program("named"), stage.program("other")])
    await supervisor.stop([["named"], ["never started"]])
    assert [name for _, name, _ in stage.notes("stop")] == ["named", "other"]


async def test_one_that_dies_is_started_again_after_a_pause_that_grows(
    supervisor: Supervisor, stage: Stage, told: list[str], back: list[str]
) -> None:
    await supervisor.start([stage.program("broker")])
    assert back == []
    for deaths in (1, 2, 3):
        os.kill(stage.notes("ready")[-1][2], signal.SIGKILL)
        await eventually(lambda n=deaths: len([t for t in told if "ready again" in t]) == n)  # type: ignore[misc]  # mypy knows no default of a lambda
    log = stage.folder / "broker.log"
    assert told == [
        line
        for pause in ("0.01", "0.02", "0.04")
        for line in (
            f"broker was ended by signal 9 (Killed); it is started again in {pause} s (its log: {log})",
            "broker is ready again",
        )
    ]
    assert supervisor.pid("broker") == stage.notes("ready")[-1][2]
    assert back == ["broker"] * 3


async def test_one_that_cannot_start_is_named_with_its_log_and_its_reason(
    supervisor: Supervisor, stage: Stage
) -> None:
    script = 'print("loading"); print("MODEL_DIR=/none: there is no such folder"); sys.exit(3)'
    with pytest.raises(CannotStart) as raised:
        await supervisor.start([stage.program("ok"), stage.program("predictor", script)])
    reason = "it ended with exit code 3: MODEL_DIR=/none: there is no such folder"
    log = stage.folder / "predictor.log"
    assert str(raised.value) == f"predictor cannot start: {reason} (its log: {log})"


async def test_the_reason_of_an_earlier_run_is_not_taken_for_this_ones(
    supervisor: Supervisor, stage: Stage
) -> None:
    (stage.folder / "a.log").write_text("out of memory\n")
    with pytest.raises(CannotStart, match=r"ended with exit code 3 \(its log"):
        await supervisor.start([stage.program("a", "sys.exit(3)")])


async def test_a_program_that_is_not_there(supervisor: Supervisor, stage: Stage) -> None:
    with pytest.raises(CannotStart, match=r"weed cannot start: it ended with exit code 127: .*not found"):
        await supervisor.start([stage.program("weed", argv=("/nowhere/weed",))])


async def test_a_working_folder_that_is_not_there(supervisor: Supervisor, stage: Stage) -> None:
    with pytest.raises(CannotStart, match="a cannot be started: No such file or directory"):
        await supervisor.start([stage.program("a", folder=stage.folder / "none")])


async def test_one_that_does_not_become_ready(supervisor: Supervisor, stage: Stage) -> None:
    program = stage.program("a", "note('here'); time.sleep(600)", ready_seconds=0.3, stop_seconds=0.1)
    with pytest.raises(CannotStart, match=r"a cannot start: it was not ready within 0\.3 s"):
        await supervisor.start([program])
    await supervisor.stop([])
    assert not any(alive(pid) for _, _, pid in stage.notes())


async def test_what_does_not_heed_sigterm_is_killed_with_all_that_it_started(
    supervisor: Supervisor, stage: Stage
) -> None:
    await supervisor.start([stage.program("a", STUBBORN, stop_seconds=0.1)])
    pids = [pid for _, _, pid in stage.notes("ready", "grandchild")]
    assert [alive(pid) for pid in pids] == [True, True]
    await supervisor.stop([])
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_what_a_dead_one_started_ends_before_it_is_started_again(
    supervisor: Supervisor, stage: Stage
) -> None:
    await supervisor.start([stage.program("a", STUBBORN, stop_seconds=0.1)])
    (_, _, grandchild), *_ = stage.notes("grandchild")
    os.kill(stage.notes("ready")[-1][2], signal.SIGKILL)
    await eventually(lambda: not alive(grandchild))
    await eventually(lambda: len(stage.notes("ready")) == 2)


async def test_a_start_that_is_interrupted_leaves_nothing(supervisor: Supervisor, stage: Stage) -> None:
    starting = asyncio.create_task(supervisor.start([stage.program("a", "note('here'); time.sleep(600)")]))
    await eventually(lambda: bool(stage.notes("here")))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await supervisor.stop([])
    assert not any(alive(pid) for _, _, pid in stage.notes())


async def test_no_one_is_started_again_while_all_are_stopped(
    supervisor: Supervisor, stage: Stage, told: list[str]
) -> None:
    await supervisor.start([stage.program("a")])
    await supervisor.stop([])
    assert told == []
    assert len(stage.notes("ready")) == 1


async def test_litter_is_removed(supervisor: Supervisor, stage: Stage) -> None:
    litter = stage.folder / "a.sock"
    litter.touch()
    await supervisor.start([stage.program("a", litter=[litter])])
    assert litter.exists()
    await supervisor.stop([])
    assert not litter.exists()


async def test_litter_that_cannot_be_removed_keeps_nothing_from_being_started_again(
    supervisor: Supervisor, stage: Stage
) -> None:
    litter = stage.folder / "a.sock"
    litter.mkdir()
    await supervisor.start([stage.program("a", litter=[litter])])
    os.kill(stage.notes("ready")[-1][2], signal.SIGKILL)
    await eventually(lambda: len(stage.notes("ready")) == 2)
