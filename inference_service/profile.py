"""The profile of a model that none ships for, read from its own configuration. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from jobs.profile import Estimate, IntRange, Profile, shipped_profile

__all__ = ["read_profile"]

#: What MochiPipeline takes for granted of its VAE (`vae_spatial_scale_factor`, `vae_temporal_scale_factor`).
_SPATIAL, _TEMPORAL = 8, 6

#: How much longer a few CPU cores take than the data-centre GPU of the shipped estimate; the order of
#: magnitude is all that is asked of it, for it only orders jobs before they were measured.
_CPU_FACTOR = 1000.0


def read_profile(name: str, transformer: Mapping[str, Any], vae: Mapping[str, Any], on_gpu: bool) -> Profile:
    """A profile from the configurations of a model's transformer and VAE.

    Multiples come from the compression and the patch size. The limits and defaults are those of
    mochi-1-preview, which every Mochi so far derives from, and its estimate is scaled by the work of a
    layer (width squared). Raises ValueError for a model that MochiPipeline cannot drive.
    """
    spatial, temporal = prod(vae["spatial_expansions"]), prod(vae["temporal_expansions"])
    if (spatial, temporal) != (_SPATIAL, _TEMPORAL):
        raise ValueError(
            f"its VAE compresses {spatial}x in space and {temporal}x in time; "
            f"Mochi's compresses {_SPATIAL}x and {_TEMPORAL}x"
        )
    known = shipped_profile("mochi-1-preview")
    assert known is not None, "the package lacks jobs/profiles/mochi-1-preview.json"  # noqa: S101  # ships with it
    multiple = spatial * int(transformer["patch_size"])
    factor = 1.0 if on_gpu else _CPU_FACTOR
    step_factor = factor * _transformer_work(transformer) / _transformer_work(_PREVIEW)
    decode_factor = factor * _decoder_work(vae) / _decoder_work(_PREVIEW)
    return Profile(
        name=name,
        fps=known.fps,
        width=_multiples(known.width, multiple),
        height=_multiples(known.height, multiple),
        max_pixels=known.max_pixels,
        num_frames=known.num_frames.model_copy(update={"multiple_of": temporal}),
        num_inference_steps=known.num_inference_steps,
        quality=known.quality,
        guidance_scale=known.guidance_scale,
        short_seconds=known.short_seconds,
        estimate=Estimate(
            base=known.estimate.base,
            per_step=known.estimate.per_step * step_factor,
            decode=known.estimate.decode * decode_factor,
        ),
    )


#: The sizes of genmo/mochi-1-preview, for which the shipped estimate was measured.
_PREVIEW = {
    "num_layers": 48,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "decoder_block_out_channels": (128, 256, 512, 768),
}


def _transformer_work(config: Mapping[str, Any]) -> float:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return float(config["num_layers"] * width**2)


def _decoder_work(config: Mapping[str, Any]) -> float:
    return float(sum(channels**2 for channels in config["decoder_block_out_channels"]))


def _multiples(known: IntRange, multiple: int) -> IntRange:
    return IntRange(
        min=-(-known.min // multiple) * multiple,
        max=known.max // multiple * multiple,
        default=known.default // multiple * multiple,
        multiple_of=multiple,
    )
