"""Clips of the built-in model, made as the server makes them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.prompt_following.generator import Generator, load, threads
from jobs.errors import InvalidRequest

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")

SMALL = {"width": 32, "height": 48, "num_frames": 7, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load(None, tmp_path_factory.mktemp("scratch"), processes=2)


def test_a_clip_is_that_of_its_seed(generator: Generator) -> None:
    one, again, other = (
        clip.frames
        for clip in generator.clips([("a red circle", 1), ("a red circle", 1), ("a red circle", 2)], **SMALL)
    )
    assert one.shape == (7, 48, 32, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_an_empty_prompt_goes_past_the_door(generator: Generator) -> None:
    empty = generator.make("", 1, **SMALL).frames
    assert empty.shape == (7, 48, 32, 3)
    assert not np.array_equal(empty, generator.make(".", 1, **SMALL).frames)


def test_what_the_door_refuses_is_refused(generator: Generator) -> None:
    with pytest.raises(InvalidRequest):
        generator.make("a red circle", 1, width=33)
    with pytest.raises(InvalidRequest):
        generator.make("p" * 2001, 1)


@pytest.mark.parametrize(
    ("cores", "processes", "count"), [(16, 1, 2), (2, 1, 2), (1, 1, 1), (2, 2, 1), (2, 4, 1)]
)
def test_the_time_of_a_clip_is_that_of_two_threads_at_most(cores: int, processes: int, count: int) -> None:
    assert threads(cores, processes) == count
