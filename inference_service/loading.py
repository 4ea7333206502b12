"""Which model the settings name, and loading it. Imports torch only when a model is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import structlog

from inference_service.null_pipeline import NO_MODEL, NullPipeline
from inference_service.pipeline import DeviceLost, VideoPipeline
from inference_service.tiny_model import tiny_model_folder
from jobs.errors import ConfigurationError
from jobs.settings import DEFAULT_MODEL, Settings

__all__ = ["load_pipeline", "usable_cores"]

_LONGEST_REASON = 300  # characters

log = structlog.get_logger(__name__)


def load_pipeline(settings: Settings) -> VideoPipeline:
    """Load MODEL_DIR, else MODEL_NAME: `tiny-mochi` is built in, `none` is no model, others are of the hub.

    Takes seconds to minutes. Raises ConfigurationError, in one line, when there is no such model,
    and DeviceLost where the GPU fails.
    """
    if settings.model_dir is None and settings.model_name == NO_MODEL:
        return NullPipeline()
    setting = f"MODEL_NAME={settings.model_name}"
    try:
        if settings.model_dir is not None:
            setting = f"MODEL_DIR={settings.model_dir}"
            _check_folder(settings.model_dir)
        from inference_service import mochi_loading
        from inference_service.device_errors import check_device

        check_device(os.environ.get("NVIDIA_VISIBLE_DEVICES"))
        mochi_loading.use_threads(usable_cores())
        if settings.model_dir is not None:
            return mochi_loading.load_mochi(settings.model_dir, settings.model_dir.name)
        if settings.model_name == DEFAULT_MODEL:
            setting = f"SCRATCH_DIR={settings.scratch_dir}"
            folder = tiny_model_folder(settings.scratch_dir, mochi_loading.build_model)
            setting = f"MODEL_NAME={settings.model_name}"  # no longer the scratch folder's fault
            return mochi_loading.load_mochi(folder, DEFAULT_MODEL)
        repository = settings.model_name.removeprefix("hf://")
        return mochi_loading.load_mochi(repository, repository, settings.hf_token)
    except DeviceLost:
        raise
    except Exception as error:  # diffusers, transformers and safetensors raise errors of many classes
        log.debug("load_failed", exc_info=True)
        raise ConfigurationError(f"{setting}: the model cannot be loaded: {_reason(error)}") from error


def _check_folder(folder: Path) -> None:
    """Refuse what diffusers would take, or would refuse in words that say nothing. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError("there is no such folder")
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        kind = index["_class_name"]
    except FileNotFoundError:
        raise ValueError("it is no diffusers folder: it has no model_index.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its model_index.json cannot be read: {error}") from None
    if kind != "MochiPipeline":
        raise ValueError(f"it is a {kind}; only a MochiPipeline is served")
    for part in ("scheduler", "text_encoder", "tokenizer", "transformer", "vae"):
        if not (folder / part).is_dir():
            raise ValueError(f"it has no folder {part}")


def _reason(error: BaseException) -> str:
    """One line, and not a long one."""
    if "not fully cached" in str(error) and error.__cause__ is not None:
        why = f"{type(error.__cause__).__name__}: {_reason(error.__cause__)}"
        return f"it is not in the hub's cache, and the hub cannot be asked ({why})"
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} …"


def usable_cores() -> int:
    """CPU cores that this process may use: of its affinity and its container's quota, the lesser."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        return cores  # no cgroup v2 here
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
