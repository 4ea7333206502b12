"""Loading a Mochi: the tiny one, one of other sizes, one whose weights are short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import MochiPipeline

from inference_service.mochi_loading import build_model, load_mochi
from inference_service.mochi_pipeline import MochiVideoPipeline
from inference_service.tiny_model import TINY_MOCHI
from jobs.profile import shipped_profile
from tests.inference_service.support import SPEC, generate

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


def test_a_known_name_has_the_shipped_profile(tiny: MochiVideoPipeline) -> None:
    assert tiny.profile == shipped_profile("tiny-mochi")


def test_an_unknown_model_of_other_sizes_has_a_profile_of_its_own_and_works(tmp_path: Path) -> None:
    sizes = {"num_attention_heads": 2, "num_layers": 1}
    mean = {"latents_mean": (0.5,) * 12, "latents_std": (2.0,) * 12}
    parts = replace(
        TINY_MOCHI,
        transformer={**TINY_MOCHI.transformer, **sizes},
        vae={**TINY_MOCHI.vae, **mean, "decoder_block_out_channels": (32, 32, 64, 64)},
    )
    build_model(parts, tmp_path)
    pipeline = load_mochi(tmp_path, "somebodys-mochi")
    profile = pipeline.profile
    assert profile.name == "somebodys-mochi"
    assert profile.width.multiple_of == profile.height.multiple_of == 16
    assert (profile.num_frames.multiple_of, profile.num_frames.offset) == (6, 1)
    assert generate(pipeline, SPEC).shape == (7, 32, 32, 3)


def test_weights_in_bfloat16_alone_are_taken(tmp_path: Path, tiny_folder: Path) -> None:
    pipe: Any = MochiPipeline.from_pretrained(tiny_folder)  # type: ignore[no-untyped-call]
    pipe.to(torch.bfloat16).save_pretrained(tmp_path, variant="bf16")
    assert len(generate(load_mochi(tmp_path, "bf16"), SPEC)) == SPEC.num_frames
