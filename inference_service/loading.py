"""Which model the settings name, and loading it. Imports torch only when a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from inference_service.null_pipeline import NO_MODEL, NullPipeline
from inference_service.pipeline import VideoPipeline
from inference_service.tiny_model import tiny_model_folder
from jobs.errors import ConfigurationError
from jobs.settings import DEFAULT_MODEL, Settings

__all__ = ["load_pipeline", "usable_cores"]


def load_pipeline(settings: Settings) -> VideoPipeline:
    """Load MODEL_DIR, else MODEL_NAME: `tiny-mochi` is built in, `none` is no model, others are of the hub.

    Takes seconds to minutes. Raises ConfigurationError, in one line, when there is no such model.
    """
    if settings.model_dir is None and settings.model_name == NO_MODEL:
        return NullPipeline()
    from inference_service import mochi_pipeline

    mochi_pipeline.use_threads(usable_cores())
    try:
        if settings.model_dir is not None:
            setting = f"MODEL_DIR={settings.model_dir}"
            if not settings.model_dir.is_dir():  # diffusers would take it for a repository of the hub
                raise FileNotFoundError("there is no such folder")
            return mochi_pipeline.load_mochi(settings.model_dir, settings.model_dir.name)
        if settings.model_name == DEFAULT_MODEL:
            setting = f"SCRATCH_DIR={settings.scratch_dir}"
            folder = tiny_model_folder(settings.scratch_dir, mochi_pipeline.build_model)
            return mochi_pipeline.load_mochi(folder, DEFAULT_MODEL)
        setting = f"MODEL_NAME={settings.model_name}"
        repository = settings.model_name.removeprefix("hf://")
        return mochi_pipeline.load_mochi(repository, repository, settings.hf_token)
    except (OSError, ValueError, KeyError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigurationError(f"{setting}: the model cannot be loaded: {reason}") from error


def usable_cores() -> int:
    """CPU cores that this process may use: of its affinity and its container's quota, the lesser."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        return cores  # no cgroup v2 here
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
