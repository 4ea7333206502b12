"""A loaded MochiPipeline at work; with `mochi_loading.py` the adapter over diffusers and its only importer.

One call of diffusers' pipeline can be neither watched nor checked between its parts, so three are made:
encode the prompt, denoise to latents (with a callback after each step), decode. It goes on from latents
of any step by a scheduler that leaves out the steps that are done.
Knows no job, no lease and no file.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers types few of its methods and none of its pipelines' parts.

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import diffusers
import numpy as np
import structlog
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from inference_service.device_errors import device_lost, is_out_of_memory
from inference_service.model_identity import model_identity
from inference_service.pipeline import (
    DeviceLost,
    Frames,
    GenerationError,
    InvalidFrames,
    Latents,
    OutOfMemory,
    PipelineFailed,
    Progress,
    Stop,
)
from jobs.job import Phase
from jobs.profile import Profile
from jobs.request import VideoSpec

__all__ = ["MochiVideoPipeline"]

log = structlog.get_logger(__name__)

T = TypeVar("T")
_Pipe: TypeAlias = Any  # a MochiPipeline

#: Tokens that a model reads of a prompt (MochiPipeline's own default), where its tokenizer allows as many;
#: the rest is cut off.
_MAX_TOKENS = 256

#: The number types of latents, as safetensors names them.
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class _Enough(Exception):  # no error: the way out of a pipeline's loop
    """The steps that are wanted now are done."""

    def __init__(self, latents: Latents) -> None:
        self.latents = latents
        super().__init__()


class _ResumingScheduler(FlowMatchEulerDiscreteScheduler):
    """Leaves out the first `done` steps of every schedule, and changes nothing of the others."""

    done = 0
    timesteps: torch.Tensor
    sigmas: torch.Tensor

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,  # by its name, the pipeline sees that it may hand them over
        **others: Any,  # noqa: ANN401  # the base's own
    ) -> None:
        """The base's schedule without its first steps."""
        super().set_timesteps(num_inference_steps, device, sigmas, **others)  # type: ignore[misc]  # diffusers hides its methods from mypy
        self.timesteps = self.timesteps[self.done :]
        self.sigmas = self.sigmas[self.done :]


class MochiVideoPipeline:
    """A loaded Mochi."""

    def __init__(self, pipe: _Pipe, profile: Profile) -> None:
        self._pipe = pipe
        self._profile = profile
        self._scheduler = _ResumingScheduler.from_config(pipe.scheduler.config)
        pipe.scheduler = self._scheduler
        self._max_tokens = min(_MAX_TOKENS, int(pipe.tokenizer.model_max_length))
        parts = {"transformer": pipe.transformer, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
        configurations = {"scheduler": pipe.scheduler.config, "vae": pipe.vae.config}
        self._identity = model_identity(parts, configurations, {"diffusers": diffusers.__version__})

    @property
    def profile(self) -> Profile:
        """What the model can do."""
        return self._profile

    @property
    def identity(self) -> Mapping[str, str]:
        """See VideoPipeline.identity."""
        return self._identity

    def denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        """See VideoPipeline.denoise. The prompt is encoded again: that takes less than its output's keep."""
        return self._guarded(spec, lambda: self._denoise(spec, start, progress))

    def decode(self, spec: VideoSpec, latents: Latents, progress: Progress) -> Frames:
        """See VideoPipeline.decode."""
        return self._guarded(spec, lambda: self._decode(spec, latents, progress))

    def _guarded(self, spec: VideoSpec, work: Callable[[], T]) -> T:
        failure: Exception | None = None
        try:
            # Not inference_mode: with offloading, accelerate moves the weights outside of it too, and
            # torch refuses to change in place what was made inside.
            with torch.no_grad():
                return work()
        except (Stop, GenerationError):
            raise
        except Exception as error:
            log.exception("pipeline_failed")
            if is_out_of_memory(error):
                failure = OutOfMemory(spec)
            else:
                failure = device_lost(error) or PipelineFailed(type(error).__name__)
        finally:
            if not isinstance(failure, DeviceLost):  # a broken GPU may never answer
                self._release()
        # Raised here and not above: as its context, `error` would keep the tensors of its frames alive.
        gc.collect()
        raise failure

    def _encode(self, spec: VideoSpec) -> dict[str, torch.Tensor | None]:
        for field, text in (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt)):
            tokens = len(self._pipe.tokenizer(text, verbose=False).input_ids)
            if tokens > self._max_tokens:
                log.warning("prompt_cut", field=field, tokens=tokens, read=self._max_tokens)
        embeds, mask, negative_embeds, negative_mask = self._pipe.encode_prompt(
            spec.prompt,
            spec.negative_prompt,
            do_classifier_free_guidance=spec.guidance_scale > 1.0,  # as the pipeline decides it
            max_sequence_length=self._max_tokens,
        )
        return {
            "prompt_embeds": embeds,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": negative_embeds,
            "negative_prompt_attention_mask": negative_mask,
        }

    def _denoise(self, spec: VideoSpec, start: Latents | None, progress: Progress) -> Latents:
        done = start.step if start else 0
        progress.entered(Phase.ENCODING_PROMPT, done)
        prompt = self._encode(spec)
        progress.entered(Phase.DENOISING, done)

        def stepped(_pipe: _Pipe, index: int, _t: object, kept: dict[str, Any]) -> dict[str, Any]:
            step, tensor = done + index + 1, kept["latents"]
            if not progress.stepped(step, lambda: _latents(step, tensor)):
                raise _Enough(_latents(step, tensor))
            return {}

        self._scheduler.done = done
        try:
            (latents,) = self._pipe(
                **prompt,
                height=spec.height,
                width=spec.width,
                num_frames=spec.num_frames,
                num_inference_steps=spec.num_inference_steps,
                guidance_scale=spec.guidance_scale,
                # A generator of the CPU draws the same noise for a seed whatever the GPU.
                generator=torch.Generator("cpu").manual_seed(spec.seed),
                latents=None if start is None else _tensor(start),
                callback_on_step_end=stepped,
                callback_on_step_end_tensor_inputs=["latents"],
                output_type="latent",
                return_dict=False,
            )
        except _Enough as enough:
            return enough.latents
        return _latents(spec.num_inference_steps, latents)

    def _decode(self, spec: VideoSpec, done: Latents, progress: Progress) -> Frames:
        progress.entered(Phase.DECODING, spec.num_inference_steps)
        latents = _tensor(done).to(self._pipe._execution_device)  # noqa: SLF001  # where it puts its own latents
        vae = self._pipe.vae
        latents = latents / vae.config.scaling_factor
        if vae.config.latents_mean is not None and vae.config.latents_std is not None:
            mean, std = (
                torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
                for values in (vae.config.latents_mean, vae.config.latents_std)
            )
            latents = latents * std + mean
        video = vae.decode(latents, return_dict=False)[0][0]  # (3, frames, height, width), -1 to 1
        if not torch.isfinite(video).all():
            raise InvalidFrames("decoding")
        pixels = (video.float() / 2 + 0.5).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        frames: Frames = np.ascontiguousarray(pixels.permute(1, 2, 3, 0).cpu().numpy())
        if frames.shape != (spec.num_frames, spec.height, spec.width, 3):
            raise PipelineFailed(f"frames of the shape {frames.shape}")
        return frames

    def _release(self) -> None:
        # Freed blocks go back to the GPU, and with offloading the last part leaves it.
        try:
            self._pipe.maybe_free_model_hooks()
            if torch.cuda.is_available():
                gc.collect()
                torch.cuda.empty_cache()
        except Exception as error:  # kernels run behind the calls: an error of theirs may show here only
            lost = device_lost(error)
            if lost is None:
                raise
            log.exception("pipeline_failed")
            raise lost from None


def _latents(step: int, tensor: torch.Tensor) -> Latents:
    """A copy on the CPU. Raises InvalidFrames: nothing good comes of such numbers any more."""
    if not torch.isfinite(tensor).all():
        raise InvalidFrames("denoising")
    copied = tensor.detach().cpu().contiguous()
    data = copied.flatten().view(torch.uint8).numpy().tobytes()
    return Latents(step, _NAMES[copied.dtype], tuple(copied.shape), data)


def _tensor(latents: Latents) -> torch.Tensor:
    """The inverse of `_latents`."""
    return torch.frombuffer(bytearray(latents.data), dtype=_DTYPES[latents.dtype]).reshape(latents.shape)
