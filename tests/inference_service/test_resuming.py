"""Checkpoints of a job in slices, and what it goes on from. Time is moved by the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import structlog

from jobs.job import Delivery, EventKind, Job
from tests.inference_service.rig import Rig, Scripted
from tests.inference_service.slicing import LONG, Clock, Refusing, etag, in_one_go


async def test_checkpoints_are_kept_while_it_works(rig: Rig, pipeline: Scripted, clock: Clock) -> None:
    async with rig.watched() as store:
        rig.change(slice_seconds=10_000.0)

        def step(number: int) -> None:
            if number in (4, 7, 10):
                store.wait_for(number - 1)
            clock.add(10)

        pipeline.before_step = step
        job = await rig.submit(LONG)
        await rig.to_the_end(job)
        assert store.steps == [3, 6, 9]
    assert await rig.files() == []
    assert rig.checkpoints(job) == []


async def interrupted(rig: Rig) -> tuple[Job, Delivery]:
    """A job after its first slice, of four steps."""
    job = await rig.submit(LONG)
    rig.change(slice_seconds=450.0)
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    rig.change(slice_seconds=100_000.0)
    return job, reply


def other_model(rig: Rig) -> None:
    class Other(Scripted):
        @property
        def identity(self) -> Mapping[str, str]:
            return {"weights": "other"}

    pipeline = Other()
    pipeline.starts = rig.tools.pipeline.starts  # type: ignore[attr-defined]  # a Scripted
    rig.change(pipeline=pipeline)


def on_another_host(rig: Rig) -> None:
    rig.tools.files.remove(rig.tools.files.jobs()[0])


def torn(rig: Rig) -> None:
    on_another_host(rig)
    (found,) = rig.storage.list("checkpoints/")
    content = b"".join(rig.storage.read(found.key))
    rig.storage.put(found.key, content[:-1], "")


def gone(rig: Rig) -> None:
    on_another_host(rig)
    rig.storage.delete_prefix("checkpoints/")


def torn_here(rig: Rig) -> None:
    (path,) = [p for p in (rig.scratch / "jobs").rglob("*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:-1])


def gone_there(rig: Rig) -> None:
    rig.storage.delete_prefix("checkpoints/")


def nothing(_rig: Rig) -> None:
    """Both copies are whole."""


@pytest.mark.usefixtures("steps_of_100_seconds")
@pytest.mark.parametrize(
    ("damage", "goes_on_from"),
    [
        (nothing, 4),
        (on_another_host, 4),
        (torn_here, 4),
        (gone_there, 4),
        (torn, 0),
        (gone, 0),
        (other_model, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_it_goes_on_from_what_is_whole_and_its_own(
    rig: Rig, pipeline: Scripted, damage: Callable[[Rig], None], goes_on_from: int
) -> None:
    rig.storage.delete_prefix("checkpoints/")
    wanted = await in_one_go(rig)
    job, reply = await interrupted(rig)
    damage(rig)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(replace(job, delivery=reply.delivery))
    assert pipeline.starts == [0, goes_on_from]
    assert etag(replies[-1]) == wanted
    assert [line["event"] for line in logs].count("checkpoint_ignored") == (goes_on_from == 0)


@pytest.mark.usefixtures("steps_of_100_seconds")
async def test_where_no_checkpoint_can_be_kept_the_slice_goes_on(rig: Rig, pipeline: Scripted) -> None:
    storage = Refusing(rig.storage, lambda key: key.startswith("checkpoints/"))
    rig.change(storage=storage)
    job = await rig.submit(LONG)
    with structlog.testing.capture_logs() as logs:
        replies = await rig.to_the_end(job)
    assert [reply.kind for reply in replies] == ["completed"]
    assert pipeline.steps == list(range(1, 11))
    assert storage.refused
    assert "slice_extended" in [line["event"] for line in logs]
    assert "strikes" not in await rig.record(job)


async def test_where_an_older_checkpoint_of_the_slice_is_kept_the_slice_ends(
    rig: Rig, pipeline: Scripted, clock: Clock
) -> None:
    async with rig.watched() as store:
        rig.change(storage=Refusing(rig.storage, lambda key: "step-4/" in key), slice_seconds=450.0)

        def step(number: int) -> None:
            if number == 4:
                store.wait_for(3)
            clock.add(100)

        pipeline.before_step = step
        job = await rig.submit(LONG)
        replies = await rig.to_the_end(job)
    assert replies[0].kind is EventKind.CONTINUED
    assert pipeline.starts[:2] == [0, 4], "the scratch volume has one step more"
    assert "strikes" not in await rig.record(job)
