"""A GPU that is missing. How a broken one shows in a model at work: test_mochi_pipeline.py."""

from __future__ import annotations

import pytest
import torch

from inference_service.device_errors import check_device
from inference_service.pipeline import DeviceLost


@pytest.mark.skipif(torch.cuda.is_available() or torch.version.cuda is None, reason="has a GPU that works")
def test_a_gpu_that_was_granted_and_is_not_there_is_no_reason_to_use_the_cpu() -> None:
    with pytest.raises(DeviceLost, match="GPU-1"):
        check_device("GPU-1")


@pytest.mark.parametrize("granted", [None, "", "void", "none"])
def test_without_a_gpu_the_cpu_is_used(granted: str | None) -> None:
    check_device(granted)
