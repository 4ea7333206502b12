"""What torch and the libraries below it raise where memory ran out or the GPU is broken, told apart.

Knows no model.
"""

from __future__ import annotations

import torch

from inference_service.pipeline import DeviceLost

__all__ = ["check_device", "device_lost", "is_out_of_memory"]

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


def check_device(granted: str | None) -> None:
    """Raise DeviceLost where this process was given a GPU that torch cannot use.

    It would go on on the CPU otherwise, and take hours for what others do in minutes. `granted`: the value of
    NVIDIA_VISIBLE_DEVICES, by which Kubernetes' device plugin says which GPUs a container has.
    """
    if granted in (None, "", "void", "none") or torch.version.cuda is None or torch.cuda.is_available():
        return
    raise DeviceLost(f"NVIDIA_VISIBLE_DEVICES={granted} names a GPU, and CUDA finds none that works")


def is_out_of_memory(error: Exception) -> bool:
    """Whether the memory of the GPU, or of the machine, was too small."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def device_lost(error: Exception) -> DeviceLost | None:
    """The error as ours, where it is one after which this process cannot use its GPU. Not of memory."""
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    of_device = _ACCELERATOR_ERROR is not None and isinstance(error, _ACCELERATOR_ERROR)
    if not of_device and not any(words in text for words in _DEVICE_LOST):
        return None
    first = next(iter(text.splitlines()), "") or type(error).__name__
    return DeviceLost(first[:_LONGEST_REASON])
