"""What is kept of a job: it comes back as it was, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from inference_service.checkpoints import (
    Identity,
    Unusable,
    frames_from,
    frames_to,
    latents_from,
    latents_to,
)
from inference_service.pipeline import Latents
from tests.inference_service.support import SPEC, job

JOB = job()
MODEL = {"weights": "abc", "dtype": "float32", "torch": "2", "diffusers": "0.42"}
MINE = Identity.of(JOB, MODEL)
LATENTS = Latents(7, "F32", (2, 3), np.arange(6, dtype=np.float32).tobytes())


def test_it_comes_back_as_it_was() -> None:
    assert latents_from(latents_to(LATENTS, MINE), MINE) == LATENTS


def test_it_is_a_safetensors_file_that_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(latents_to(LATENTS, MINE))
    with safe_open(tmp_path / "file", "np") as file:
        assert file.get_tensor("latents").tolist() == [[0, 1, 2], [3, 4, 5]]
        metadata = file.metadata()
    assert metadata["job"] == JOB.id
    assert metadata["step"] == "7"
    assert {"request", "sha256", *(f"model.{name}" for name in MODEL)} < set(metadata)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "torn"),
        (lambda content: content[:20], "torn"),
        (lambda _content: b"", "torn"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "checksum"),
        (lambda content: content + b"x", "checksum"),
        (lambda _content: b"\x02" + bytes(7) + b"[]", "torn"),
        (lambda _content: b"\xff" * 100, "torn"),
        (lambda content: content.replace(b'"step":"7"', b'"step":"x"'), "torn"),
    ],
)
def test_what_is_torn_is_refused(damage: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        latents_from(damage(latents_to(LATENTS, MINE)), MINE)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Identity.of(replace(JOB, id="0" * 32), MODEL), "job"),
        (Identity.of(replace(JOB, spec=replace(SPEC, seed=8)), MODEL), "request"),
        *[(Identity.of(JOB, {**MODEL, name: "other"}), f"model.{name}") for name in MODEL],
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_anothers_is_refused(other: Identity, what: str) -> None:
    with pytest.raises(Unusable, match=f"another {what}"):
        latents_from(latents_to(LATENTS, other), MINE)


def test_frames_come_back_and_are_no_latents() -> None:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    content = frames_to(frames, 7, MINE)
    assert (frames_from(content, MINE) == frames).all()
    with pytest.raises(Unusable):
        latents_from(content, MINE)
