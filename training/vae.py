"""The VAE and its training: clips to latents of 12 channels, 8 times smaller in space, 6 in time, and back.

Trained first on windows around the shape, where there is something to learn, then on whole frames.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers and transformers type few of their methods: their models are Any here.

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKLMochi
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.clips import BACKGROUNDS, HELD_OUT, Clip, draw_clip, render
from training.loop import Phase
from training.muon import Muon

__all__ = ["Vae", "VaeTask", "new_vae", "to_pixels", "to_tensor"]

Vae: TypeAlias = Any  # an AutoencoderKLMochi

#: Channels are multiples of 32 because the VAE normalises in 32 groups. The first two sizes are those at
#: full resolution, where a 3x3x3 convolution would cost most: they have none.
_CONFIG: dict[str, Any] = {
    "encoder_block_out_channels": (32, 32, 32, 64),
    "decoder_block_out_channels": (32, 32, 96, 128),
    "layers_per_block": (0, 0, 1, 1, 1),
    "add_attention_block": (False,) * 5,
    "scaling_factor": 1.0,
}
_NOISE = 0.2  # standard deviation, on latents while training: nearby latents mean nearby clips
_WINDOW = 40  # pixels
#: Clips by frames, so that batches of any length cost much the same.
_WINDOW_BATCHES = ((13, 5), (25, 3))
_BATCHES = ((13, 3), (25, 2), (37, 1), (61, 1))
_PEAK = 2e-3


def new_vae(seed: int) -> Vae:
    """An untrained VAE with the weights of `seed`."""
    torch.manual_seed(seed)
    vae: Vae = AutoencoderKLMochi(**_CONFIG)
    with torch.no_grad():
        # The Fourier features are of such high frequencies that they are noise at first, and latents have to
        # stand out from the noise of the training.
        vae.encoder.proj_in.weight[:, 3:] = 0
        vae.encoder.proj_in.weight[:, :3] *= 3
        vae.encoder.proj_out.weight[: vae.config.latent_channels] *= 4
    # Without this memory layout a step takes five times as long on a CPU.
    return vae.to(memory_format=torch.channels_last_3d)


def to_tensor(clips: NDArray[np.uint8]) -> Tensor:
    """(clips, frames, height, width, 3) of 0 to 255 as (clips, 3, frames, height, width) of -1 to 1."""
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).to(torch.float32) / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last_3d)


def to_pixels(clips: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_tensor`."""
    scaled: NDArray[np.uint8] = ((clips.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    return scaled.transpose(0, 2, 3, 4, 1)


class VaeTask:
    """Reconstruct clips through noisy latents."""

    name = "vae"
    phases: Sequence[Phase] = (Phase("windows", 0.5), Phase("whole", 0.5))

    def __init__(self, seed: int) -> None:
        self.module: Vae = new_vae(seed)
        inner: list[Tensor] = []
        others: list[Tensor] = []
        for name, weight in self.module.named_parameters():
            is_inner = weight.ndim > 1 and name.split(".")[1] not in ("proj_in", "conv_in", "proj_out")
            (inner if is_inner else others).append(weight)
        self.optimizers: Sequence[torch.optim.Optimizer] = [
            Muon([{"params": inner, "peak": _PEAK}], lr=_PEAK, weight_decay=0.0),
            torch.optim.AdamW(
                [{"params": others, "peak": _PEAK}], lr=_PEAK, betas=(0.9, 0.99), weight_decay=0.0
            ),
        ]

    def drawn(self, phase: str, rng: np.random.Generator) -> tuple[list[Clip], int]:
        """The clips of a batch, and how many frames of them it shows."""
        choices = _WINDOW_BATCHES if phase == "windows" else _BATCHES
        frames, count = choices[int(rng.integers(len(choices)))]
        return [draw_clip(rng) for _ in range(count)], frames

    def loss(self, phase: str, rng: np.random.Generator) -> Tensor:
        """L1 and squared error, five times as heavy on the shape and around it, with small latents."""
        clips, frames = self.drawn(phase, rng)
        pixels = [render(clip, frames) for clip in clips]
        if phase == "windows":
            pixels = [_crop(clip, video, rng) for clip, video in zip(clips, pixels, strict=True)]
        video = to_tensor(np.stack(pixels))
        moments = self.module.encoder(video)[0]
        mean, logvar = moments.chunk(2, dim=1)
        noise = torch.from_numpy(rng.standard_normal(tuple(mean.shape), np.float32))
        error = self.module.decode(mean + _NOISE * noise).sample - video
        weight = 1 + 4 * _near_shape(clips, video)
        reconstruction = (weight * (error.abs() + 2 * error**2)).mean()
        spread = (logvar - 2 * log(_NOISE)) ** 2  # so that sampling from the encoder is what was trained
        loss: Tensor = reconstruction + 3e-4 * (mean**2).mean() + 1e-4 * spread.mean()
        return loss

    def report(self, folder: Path, step: int) -> str:
        """A strip of held-out clips beside their reconstructions; how near those are."""
        rng = np.random.default_rng(1)
        clips = [draw_clip(rng, [held]) for held in HELD_OUT[:6]]
        pixels = np.stack([render(clip) for clip in clips])
        again = np.stack([self._reconstructed(video) for video in pixels])
        pairs = zip(pixels, again, strict=True)
        rows = [np.concatenate([*one[::12], *other[::12]], 1) for one, other in pairs]
        Image.fromarray(np.concatenate(rows)).save(folder / f"vae-{step:06}.png")
        squares = (pixels.astype(np.float32) - again) ** 2
        near = squares[_near_shape(clips, to_tensor(pixels)).numpy()[:, 0] > 0]
        return f"held out: {_psnr(squares):.1f} dB, near the shape {_psnr(near):.1f}"

    @torch.no_grad()
    def _reconstructed(self, video: NDArray[np.uint8]) -> NDArray[np.uint8]:
        latents = self.module.encode(to_tensor(video[None])).latent_dist.mean
        video_again: NDArray[np.uint8] = to_pixels(self.module.decode(latents).sample)[0]
        return video_again


def _psnr(squares: NDArray[np.float32]) -> float:
    return float(10 * np.log10(255**2 / squares.mean()))


def _crop(clip: Clip, video: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square that holds most of the shape's beginning, at random within the frame."""
    ground = np.array(BACKGROUNDS[clip.background])
    rows, columns = np.nonzero((video[0] != ground).any(-1))
    middle = np.array((rows.mean(), columns.mean())) + rng.uniform(-12, 12, 2)
    top, left = np.clip(middle - _WINDOW / 2, 0, video.shape[1] - _WINDOW).astype(int)
    return video[:, top : top + _WINDOW, left : left + _WINDOW]


def _near_shape(clips: list[Clip], video: Tensor) -> Tensor:
    """1 where the shape is or one of its neighbours, else 0: (clips, 1, frames, height, width)."""
    grounds = to_tensor(np.array([[[[BACKGROUNDS[clip.background]]]] for clip in clips], np.uint8))
    shape = (video - grounds).abs().amax(1, keepdim=True).gt(0.02).to(torch.float32)
    return functional.max_pool3d(shape, (1, 5, 5), stride=1, padding=(0, 2, 2))
