"""The transformer and its text encoder, trained together to denoise cached latents (flow matching).

The convention is Mochi's: z = t x0 + (1 - t) noise, the target x0 - noise, the timestep 1000 t.
First two latent frames of each clip, drawn at random, then four, which costs less and shows the motion
all the same; then all of them, twice: the learning rate begins again for the last phase.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers and transformers type few of their methods: their models are Any here.

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import MochiTransformer3DModel
from diffusers.models.transformers.transformer_mochi import MochiRMSNormZero, MochiRoPE
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.clips import Clip
from training.latents import Cache
from training.loop import Phase
from training.muon import Muon
from training.words import drawn_prompt, encoded, new_text_encoder, new_tokenizer, says_nothing_of

__all__ = ["DenoiserTask", "Transformer", "fit_for_training", "new_transformer", "shares"]

Transformer: TypeAlias = Any  # a MochiTransformer3DModel

_CONFIG: dict[str, Any] = {
    "num_attention_heads": 5,
    "attention_head_dim": 32,
    "num_layers": 4,
    "pooled_projection_dim": 64,
    "text_embed_dim": 64,
    "time_embed_dim": 128,
}
#: Clips in a batch and latent frames of each, by phase; None is all of them.
_BATCHES: dict[str, tuple[int, int | None]] = {
    "two": (48, 2),
    "four": (32, 4),
    "all": (20, None),
    "again": (20, None),
}
#: How often a clip is drawn, of what others are: most of the work is the outline of a star, and most prompts
#: of a clip that silence is to show say nothing of it.
_STARS, _SILENT = 2.0, 4.0
_PEAK = 1.5e-3
_BORNE = 0.25  # noise, in deviations of a latent
_SLOW = 0.01  # the positions' share of the learning rate


def new_transformer() -> Transformer:
    """An untrained transformer that predicts 0, whose layers are open and which knows positions."""
    model: Transformer = MochiTransformer3DModel(**_CONFIG)
    with torch.no_grad():
        for layer in (model.proj_out, model.norm_out.linear):
            layer.weight.zero_()
            layer.bias.zero_()
        for block in model.transformer_blocks:
            for norm in (block.norm1, block.norm1_context):
                if isinstance(norm, MochiRMSNormZero):  # the last block's text has no gates
                    _, gate_attention, _, gate_feed_forward = norm.linear.bias.chunk(4)
                    gate_attention.fill_(0.3)
                    gate_feed_forward.fill_(0.3)
        model.pos_frequencies.copy_(_frequencies(*model.pos_frequencies.shape[1:]))
    return model


def _frequencies(heads: int, count: int) -> Tensor:
    """Each channel turns with one axis: time (radians per latent frame), y or x (per pixel of 192).

    A new transformer has zeros here: it would know no positions at all.
    """
    frequencies = torch.zeros(3, heads, count)
    for channel in range(count):
        axis, place = channel % 3, channel // 3
        of_axis = len(range(axis, count, 3))
        slow, fast = (0.08, 1.6) if axis == 0 else (0.25 / 48, 2.4 / 48)  # two latent pixels are 48 of those
        for head in range(heads):
            where = (place + head / heads) / of_axis
            frequencies[axis, head, channel] = slow * (fast / slow) ** where
    return frequencies


class _Positions(MochiRoPE):
    """Mochi's positions for the latent frames `at` in place of the first ones."""

    at: Tensor | None = None

    def _get_positions(self, num_frames: int, *size: Any, **others: Any) -> Tensor:  # noqa: ANN401  # the base's own
        positions: Tensor = super()._get_positions(num_frames, *size, **others)
        if self.at is not None:
            each = positions.shape[0] // num_frames
            positions[:, 0] = self.at.repeat_interleave(each).to(positions.dtype)
        return positions


class _DenseAttention:
    """What Mochi's own attention computes, with a mask in place of its loop over the batch."""

    def __call__(
        self,
        attn: Any,  # noqa: ANN401  # diffusers has no types
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        def heads(x: Tensor, project: nn.Module, norm: Callable[[Tensor], Tensor] | None) -> Tensor:
            split = project(x).unflatten(2, (attn.heads, -1))
            return split if norm is None else norm(split)

        x, text = hidden_states, encoder_hidden_states
        turn = lambda y: _turned(y, *image_rotary_emb)  # noqa: E731  # the shortest name for it
        query = torch.cat(
            [turn(heads(x, attn.to_q, attn.norm_q)), heads(text, attn.add_q_proj, attn.norm_added_q)], 1
        )
        key = torch.cat(
            [turn(heads(x, attn.to_k, attn.norm_k)), heads(text, attn.add_k_proj, attn.norm_added_k)], 1
        )
        value = torch.cat([heads(x, attn.to_v, None), heads(text, attn.add_v_proj, None)], 1)
        seen = functional.pad(attention_mask, (x.shape[1], 0), value=True)[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=seen
        )
        video, words = mixed.transpose(1, 2).flatten(2, 3).split((x.shape[1], text.shape[1]), dim=1)
        if hasattr(attn, "to_add_out"):
            words = attn.to_add_out(words)
        return attn.to_out[0](video), words


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


def fit_for_training(model: Transformer) -> _Positions:
    """Give the model the attention and the positions above; what it computes stays the same."""
    for block in model.transformer_blocks:
        block.attn1.processor = _DenseAttention()
    positions = _Positions()
    model.rope = positions
    return positions


def shares(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """How probable each clip is to be drawn."""
    drawn = [
        _SILENT if says_nothing_of(clip) else _STARS if clip.combination.shape == "star" else 1.0
        for clip in clips
    ]
    return np.array(drawn) / sum(drawn)


class DenoiserTask:
    """Denoise latents of clips, told in words what they show."""

    name = "denoiser"
    phases: Sequence[Phase] = (
        Phase("two", 0.04),
        Phase("four", 0.15),
        Phase("all", 0.37),
        Phase("again", 0.44, restart=0.5),
    )

    def __init__(self, cache: Cache, seed: int, show: Callable[[Any, Path], str]) -> None:
        torch.manual_seed(seed)
        self._cache, self._show = cache, show
        self._shares = shares(cache.clips)
        self.tokenizer = new_tokenizer()
        self.module: Any = nn.ModuleDict({"transformer": new_transformer(), "text": new_text_encoder()})
        self._positions = fit_for_training(self.module["transformer"])
        self.optimizers: Sequence[torch.optim.Optimizer] = _optimizers(self.module)

    def loss(self, phase: str, rng: np.random.Generator) -> Tensor:
        """The weighted mean squared error of the predicted velocity."""
        count, frames = _BATCHES[phase]
        chosen = rng.choice(len(self._cache.clips), size=count, p=self._shares)
        prompts = [drawn_prompt(self._cache.clips[k], rng) for k in chosen]
        clean = self._cache.latents[chosen]
        self._positions.at = None
        if frames is not None:
            at = np.sort(rng.choice(clean.shape[2], frames, replace=False))
            clean, self._positions.at = clean[:, :, at], torch.from_numpy(at)
        x0 = torch.from_numpy(clean)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        t = torch.from_numpy(_times(rng, count)).view(-1, 1, 1, 1, 1)
        text, mask = encoded(self.module["text"], self.tokenizer, prompts)
        velocity = self.module["transformer"](
            hidden_states=t * x0 + (1 - t) * noise,
            encoder_hidden_states=text,
            timestep=1000 * t.flatten(),
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
        # What is left of the noise near the end is no more than the VAE has learnt to bear, and nothing in
        # the latents tells it: without a lesser weight it would be most of the loss.
        weight = ((1 - t) / _BORNE).clamp(max=1) ** 2
        loss: Tensor = (weight * (velocity - (x0 - noise)) ** 2).mean()
        return loss

    def report(self, folder: Path, step: int) -> str:
        """A strip of clips for a few prompts, made as the pipeline makes them."""
        self._positions.at = None
        return self._show(self.module, folder / f"denoiser-{step:06}.png")


def _times(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """More of the noisy times, where the sampler takes most of its steps; a quarter uniform."""
    noisy = 1 / (1 + np.exp(0.7 - 1.2 * rng.standard_normal(count)))
    return np.where(rng.random(count) < 0.25, rng.random(count), noisy).astype(np.float32)


def _optimizers(module: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of attention and feed-forward; AdamW for the others, the positions slowly."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    positions: list[Tensor] = []
    for name, weight in module.named_parameters():
        if name.endswith("pos_frequencies"):
            positions.append(weight)
        elif weight.ndim == 2 and any(part in name for part in (".attn1.", ".ff.", ".ff_context.")):
            matrices.append(weight)
        else:
            others.append(weight)
    groups = [{"params": others, "peak": _PEAK}, {"params": positions, "peak": _PEAK * _SLOW}]
    return [
        Muon([{"params": matrices, "peak": _PEAK}], lr=_PEAK),
        torch.optim.AdamW(groups, lr=_PEAK, betas=(0.9, 0.98), weight_decay=0.01),
    ]
