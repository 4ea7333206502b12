"""How long the phases of a job took."""

from __future__ import annotations

from inference_service.metrics import PhaseClock
from jobs.job import Phase


def test_a_phase_that_is_entered_again_goes_on() -> None:
    now = iter((0.0, 1.0, 11.0, 13.0, 33.0))
    clock = PhaseClock(lambda: next(now))
    for _ in range(2):
        clock.enter(Phase.ENCODING_PROMPT)
        clock.enter(Phase.DENOISING)
        clock.enter(Phase.DENOISING)
    clock.enter(None)
    assert clock.seconds == {Phase.ENCODING_PROMPT: 3.0, Phase.DENOISING: 30.0}
