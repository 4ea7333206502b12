from __future__ import annotations

from dataclasses import replace

import pytest

from inference_service.pace import Pace, check_budget, default_need, largest_need
from jobs.errors import ConfigurationError
from jobs.profile import shipped_profile
from tests.inference_service.support import SPEC

PROFILE = shipped_profile("tiny-mochi")


def test_the_estimate_until_it_is_measured() -> None:
    assert PROFILE is not None
    pace = Pace(PROFILE)
    megapixel_frames = SPEC.width * SPEC.height * SPEC.num_frames / 1e6
    assert pace.step(SPEC) == pytest.approx(0.18 * megapixel_frames)
    assert pace.tail(SPEC) == pytest.approx(0.3 + 1.5 * megapixel_frames)
    pace.stepped(SPEC, 2.0)
    pace.decoded(SPEC, 5.0)
    assert pace.step(SPEC) == pytest.approx(2.0)
    assert pace.tail(SPEC) == pytest.approx(0.3 + 5.0)  # the video is still to be encoded and uploaded
    assert pace.step(replace(SPEC, width=64)) == pytest.approx(4.0)
    assert pace.longest_step() == pytest.approx(2.0 * 64 * 64 * 61 / (32 * 32 * 7))


def test_a_budget_too_small_for_the_default_clip_is_refused_with_both_figures() -> None:
    preview = shipped_profile("mochi-1-preview")
    assert preview is not None
    assert (round(default_need(preview), 1), round(largest_need(preview), 1)) == (9.3, 17.9)
    check_budget(240, preview)
    check_budget(10, preview)
    with pytest.raises(ConfigurationError, match=r"MOCHI_SLICE_SECONDS=9 .*9\.3 s"):
        check_budget(9, preview)
