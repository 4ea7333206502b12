"""Loading a Mochi onto this machine's device, and building one with random weights.

With `mochi_pipeline.py`, which runs what is loaded here, the adapter over diffusers and its only importer.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers types few of its methods and none of its pipelines' parts.

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKLMochi,
    FlowMatchEulerDiscreteScheduler,
    MochiPipeline,
    MochiTransformer3DModel,
)

from inference_service.device_errors import device_lost, is_out_of_memory
from inference_service.mochi_pipeline import MochiVideoPipeline
from inference_service.profile import read_profile
from inference_service.tiny_model import ModelParts
from jobs.profile import shipped_profile

__all__ = ["build_model", "load_mochi", "use_threads"]

_Pipe: TypeAlias = Any  # a MochiPipeline

#: Room that denoising and the tiled decode take beside the weights at 848x480 with 163 frames, in bytes.
#: Where the GPU has less, the parts of the model take turns on it.
_WORKING_SET = 24 * 2**30


def load_mochi(source: str | Path, name: str, token: str | None = None) -> MochiVideoPipeline:
    """Load a diffusers folder, or a repository of the hub: bfloat16 on a GPU, float32 on a CPU.

    The profile is the one that ships for `name`, else it is read from the model's configuration.
    Raises an Exception of any class (diffusers' and safetensors' own among them) when the model is not
    there, is torn or is no Mochi; DeviceLost when the GPU fails.
    """
    try:
        return _load(source, name, token)
    except Exception as error:
        if is_out_of_memory(error) or (lost := device_lost(error)) is None:
            raise
        raise lost from error


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


def _place(pipe: _Pipe) -> None:
    modules = (pipe.text_encoder, pipe.transformer, pipe.vae)
    weights = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())
    memory, _ = torch.cuda.mem_get_info()  # what is free: others may use this GPU too
    if weights + _WORKING_SET <= memory or weights < memory // 20:
        pipe.to("cuda")
    else:
        pipe.enable_model_cpu_offload()


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
