"""The adapter over diffusers' MochiPipeline: the only file that imports diffusers.

One call of that pipeline can be neither watched nor checked between its parts, so three are made:
encode the prompt, denoise to latents (with a callback after each step), decode. It goes on from latents
of any step by a scheduler that leaves out the steps that are done.
Knows no job, no lease and no file but a model's folder.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers types few of its methods and none of its pipelines' parts.

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import diffusers
import numpy as np
import structlog
import torch
import transformers
from diffusers import (
    AutoencoderKLMochi,
    FlowMatchEulerDiscreteScheduler,
    MochiPipeline,
    MochiTransformer3DModel,
)

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
from inference_service.profile import read_profile
from inference_service.tiny_model import ModelParts
from jobs.job import Phase
from jobs.profile import Profile, shipped_profile
from jobs.request import VideoSpec

__all__ = ["MochiVideoPipeline", "build_model", "check_device", "load_mochi", "use_threads"]

log = structlog.get_logger(__name__)

T = TypeVar("T")
_Pipe: TypeAlias = Any  # a MochiPipeline

#: Room that denoising and the tiled decode take beside the weights at 848x480 with 163 frames, in bytes.
#: Where the GPU has less, the parts of the model take turns on it.
_WORKING_SET = 24 * 2**30

#: Tokens that the model reads of a prompt (MochiPipeline's own default); the rest is cut off.
_MAX_TOKENS = 256

#: How torch and the libraries below it say that memory ran out, where they have no exception for it.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")

#: How they say that the GPU, or the context on it, is broken, where torch raises a plain RuntimeError.
_DEVICE_LOST = (
    "CUDA error",
    "CUDA driver error",
    "device-side assert",
    "unspecified launch failure",
    "illegal memory access",
    "uncorrectable ECC",
    "STATUS_EXECUTION_FAILED",
)

#: torch's own class for errors of the device, since 2.8.
_ACCELERATOR_ERROR: type[Exception] | None = getattr(torch, "AcceleratorError", None)

_LONGEST_REASON = 120  # characters

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
            if _is_out_of_memory(error):
                failure = OutOfMemory(spec)
            else:
                failure = _device_lost(error) or PipelineFailed(type(error).__name__)
        finally:
            if not isinstance(failure, DeviceLost):  # a broken GPU may never answer
                self._release()
        # Raised here and not above: as its context, `error` would keep the tensors of its frames alive.
        gc.collect()
        raise failure

    def _encode(self, spec: VideoSpec) -> dict[str, torch.Tensor | None]:
        for field, text in (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt)):
            tokens = len(self._pipe.tokenizer(text, verbose=False).input_ids)
            if tokens > _MAX_TOKENS:
                log.warning("prompt_cut", field=field, tokens=tokens, read=_MAX_TOKENS)
        embeds, mask, negative_embeds, negative_mask = self._pipe.encode_prompt(
            spec.prompt,
            spec.negative_prompt,
            do_classifier_free_guidance=spec.guidance_scale > 1.0,  # as the pipeline decides it
            max_sequence_length=_MAX_TOKENS,
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
            lost = _device_lost(error)
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


def load_mochi(source: str | Path, name: str, token: str | None = None) -> MochiVideoPipeline:
    """Load a diffusers folder, or a repository of the hub: bfloat16 on a GPU, float32 on a CPU.

    The profile is the one that ships for `name`, else it is read from the model's configuration.
    Raises an Exception of any class (diffusers' and safetensors' own among them) when the model is not
    there, is torn or is no Mochi; DeviceLost when the GPU fails.
    """
    try:
        return _load(source, name, token)
    except Exception as error:
        if _is_out_of_memory(error) or (lost := _device_lost(error)) is None:
            raise
        raise lost from error


def check_device(granted: str | None) -> None:
    """Raise DeviceLost where this process was given a GPU that torch cannot use.

    It would go on on the CPU otherwise, and take hours for what others do in minutes. `granted`: the value of
    NVIDIA_VISIBLE_DEVICES, by which Kubernetes' device plugin says which GPUs a container has.
    """
    if granted in (None, "", "void", "none") or torch.version.cuda is None or torch.cuda.is_available():
        return
    raise DeviceLost(f"NVIDIA_VISIBLE_DEVICES={granted} names a GPU, and CUDA finds none that works")


def _load(source: str | Path, name: str, token: str | None) -> MochiVideoPipeline:
    _quieten()
    cuda = torch.cuda.is_available()
    pipe = _read(source, token, cuda)
    pieces, rows = len(pipe.tokenizer), pipe.text_encoder.config.vocab_size
    if pieces < rows // 2:  # transformers makes an empty tokenizer where the files are missing
        raise ValueError(f"its tokenizer has {pieces} pieces, and its text encoder {rows}")
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.enable_tiling()  # bounds the decode's memory; a frame below a tile (256 pixels) is not cut
    if cuda:
        _place(pipe)
    profile = shipped_profile(name) or read_profile(name, pipe.transformer.config, pipe.vae.config, cuda)
    return MochiVideoPipeline(pipe, profile)


def _read(source: str | Path, token: str | None, cuda: bool) -> _Pipe:
    """The pipeline on the CPU. Weights may be there in full precision, in bfloat16 or both."""
    failure: Exception | None = None
    for variant in ("bf16", None) if cuda else (None, "bf16"):
        try:
            with _refusing_gaps():
                return MochiPipeline.from_pretrained(
                    source,
                    dtype=torch.bfloat16 if cuda else torch.float32,
                    variant=variant,
                    token=token,
                    local_files_only=isinstance(source, Path),
                    use_safetensors=True,  # a pickle may run any code
                )
        except (OSError, ValueError) as error:  # no such variant, or no such model
            if failure is None or variant is None:
                failure = error
    assert failure is not None  # noqa: S101  # both were tried
    raise failure


@contextmanager
def _refusing_gaps() -> Iterator[None]:
    """Raise ValueError where weights are missing: diffusers makes up the rest, and only logs it."""
    gaps: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "newly initialized" in record.getMessage():
                gaps.append(record.getMessage())

    listener, loggers = Listener(), [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
    if gaps:
        raise ValueError("its weights are not whole: they lack some that its configuration asks for")


def use_threads(count: int) -> None:
    """Let torch compute in `count` threads of this process; OMP_NUM_THREADS may say fewer."""
    torch.set_num_threads(min(count, torch.get_num_threads()))


def build_model(parts: ModelParts, folder: Path) -> None:
    """Write a Mochi with random weights as a diffusers folder; the same parts give the same weights."""
    _quieten()
    tokenizer = transformers.T5Tokenizer(vocab=list(parts.vocabulary), extra_ids=0, model_max_length=256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parts.seed)
        config = transformers.T5Config(vocab_size=len(parts.vocabulary), **parts.text_encoder)
        pipe: _Pipe = MochiPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
            vae=AutoencoderKLMochi(**parts.vae),
            text_encoder=transformers.T5EncoderModel(config),
            tokenizer=tokenizer,
            transformer=MochiTransformer3DModel(**parts.transformer),
        )
    pipe.save_pretrained(folder)


def _place(pipe: _Pipe) -> None:
    modules = (pipe.text_encoder, pipe.transformer, pipe.vae)
    weights = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())
    memory, _ = torch.cuda.mem_get_info()  # what is free: others may use this GPU too
    if weights + _WORKING_SET <= memory or weights < memory // 20:
        pipe.to("cuda")
    else:
        pipe.enable_model_cpu_offload()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _device_lost(error: Exception) -> DeviceLost | None:
    """The error as ours, where it is one after which this process cannot use its GPU. Not of memory."""
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    of_device = _ACCELERATOR_ERROR is not None and isinstance(error, _ACCELERATOR_ERROR)
    if not of_device and not any(words in text for words in _DEVICE_LOST):
        return None
    first = next(iter(text.splitlines()), "") or type(error).__name__
    return DeviceLost(first[:_LONGEST_REASON])


def _quieten() -> None:
    # Mochi asks for float32 inside an autocast; a CPU's has only the short types, and says so at each job.
    warnings.filterwarnings("ignore", "In CPU autocast", UserWarning)
    # It quotes the prompt at length where it is cut off; the adapter says it in a line of its own.
    logging.getLogger("diffusers.pipelines.mochi.pipeline_mochi").setLevel(logging.ERROR)
    # Both libraries print progress bars to standard error and bring a log handler of their own.
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.disable_default_handler()
        library.enable_propagation()
