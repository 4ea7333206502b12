"""The cache: clips and their latents, normalised, made once before the transformer is trained."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.clips import Clip, draw_clip, render
from training.loop import log, save_atomically
from training.vae import Vae, to_tensor

__all__ = ["Cache", "cached_clip", "fill_cache"]

_SHARD = 100  # clips in a file


class Cache:
    """Clips with their latents: (clips, 12, 11, 8, 8) of mean 0 and deviation 1 in each channel."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        raw = np.concatenate([np.load(_path(folder, k)) for k in range(-(-count // _SHARD))])[:count]
        axes = (0, 2, 3, 4)
        self.mean = raw.mean(axes, dtype=np.float64).astype(np.float32)
        self.std = raw.std(axes, dtype=np.float64).astype(np.float32)
        shape = (1, -1, 1, 1, 1)
        self.latents: NDArray[np.float32] = (raw - self.mean.reshape(shape)) / self.std.reshape(shape)
        self.clips = [cached_clip(seed, index) for index in range(count)]


def cached_clip(seed: int, index: int) -> Clip:
    """The clip of a place in the cache."""
    return draw_clip(np.random.default_rng((seed, 7, index)))


def fill_cache(vae: Vae, folder: Path, count: int, seed: int) -> None:
    """Encode what is not encoded yet, a file at a time."""
    (folder / "cache").mkdir(exist_ok=True)
    for shard in range(-(-count // _SHARD)):
        path = _path(folder, shard)
        if path.exists():
            continue
        latents = []
        for index in range(shard * _SHARD, min((shard + 1) * _SHARD, count)):
            video = to_tensor(render(cached_clip(seed, index))[None])
            with torch.no_grad():
                latents.append(vae.encode(video).latent_dist.mean.numpy())
        whole = np.concatenate(latents).astype(np.float32)
        save_atomically(path, partial(_write, whole))
        log(folder, f"cache {shard * _SHARD + len(latents)}/{count}")


def _write(latents: NDArray[np.float32], part: Path) -> None:
    with part.open("wb") as file:
        np.save(file, latents)


def _path(folder: Path, shard: int) -> Path:
    return folder / "cache" / f"{shard:04}.npy"
