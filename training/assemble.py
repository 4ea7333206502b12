"""The trained parts as a diffusers folder that `MochiPipeline.from_pretrained` loads, and clips from it."""

# mypy: disable-error-code="no-untyped-call"
# diffusers types few of its methods and none of its pipelines' parts.

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    MochiPipeline,
)
from diffusers.models.attention_processor import MochiAttnProcessor2_0
from diffusers.models.transformers.transformer_mochi import MochiRoPE
from numpy.typing import NDArray
from PIL import Image

from jobs.profile import shipped_profile
from jobs.settings import DEFAULT_MODEL
from training.latents import Cache
from training.vae import Vae, to_pixels
from training.words import new_tokenizer, spell_alike

__all__ = ["Pipeline", "pipeline_of", "sample", "show", "write_model"]

Pipeline: TypeAlias = Any  # a MochiPipeline

_PROMPTS = (
    "a large red circle moving left on a light background",
    "a small green square moving right on a light background",
    "a large purple triangle moving up on a dark background",
    "a small orange star moving down on a dark background",
    "a blue star standing still",
    "a yellow square moving left",
)


def pipeline_of(module: Any, vae: Vae, cache: Cache) -> Pipeline:  # noqa: ANN401  # a module of both
    """A pipeline of copies of the trained parts, with diffusers' own attention and positions."""
    transformer = copy.deepcopy(module["transformer"])
    for block in transformer.transformer_blocks:
        block.attn1.processor = MochiAttnProcessor2_0()
    transformer.rope = MochiRoPE()
    text_encoder = copy.deepcopy(module["text"])
    spell_alike(text_encoder)
    vae = copy.deepcopy(vae)
    vae.register_to_config(latents_mean=cache.mean.tolist(), latents_std=cache.std.tolist())
    return MochiPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=new_tokenizer(),
        transformer=transformer,
    )


@torch.no_grad()
def sample(pipe: Pipeline, prompts: list[str], seed: int, frames: int = 61) -> NDArray[np.uint8]:
    """Clips of 64x64 for the prompts, all at once, as they are served: (clips, frames, 64, 64, 3)."""
    profile = shipped_profile(DEFAULT_MODEL)
    assert profile is not None, "the model that is trained here has one"
    pipe.set_progress_bar_config(disable=True)
    videos = pipe(
        prompts,
        negative_prompt=[profile.negative_prompt] * len(prompts),
        height=64,
        width=64,
        num_frames=frames,
        num_inference_steps=profile.num_inference_steps.default,
        guidance_scale=profile.guidance_scale.default,
        max_sequence_length=pipe.tokenizer.model_max_length,  # as the server reads it
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    ).frames
    return to_pixels(videos.permute(0, 2, 1, 3, 4) * 2 - 1)


def show(pipe: Pipeline, path: Path) -> str:
    """A strip of six frames for each of a few prompts, most of them of held-out combinations."""
    clips = sample(pipe, list(_PROMPTS), seed=0)
    Image.fromarray(np.concatenate([np.concatenate([*clip[::12]], 1) for clip in clips])).save(path)
    return f"samples in {path.name}"


def write_model(pipe: Pipeline, folder: Path) -> None:
    """Save in float16 (4 bytes a weight would be too many to ship) with its card, whole or not at all."""
    part = folder.with_name(f".part-{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    pipe.to(dtype=torch.float16).save_pretrained(part)
    shutil.copy(Path(__file__).with_name("MODEL_CARD.md"), part / "README.md")
    for file in part.rglob("*.safetensors"):
        file.chmod(0o644)  # they are written for their owner alone
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
