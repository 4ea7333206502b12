"""The invariants, each one named function.

Those of `ALWAYS` are checked around every transition, from the log and from what is seen in Redis;
the others when work is begun, when an event is handed over, and at the end of a run.
"""

from __future__ import annotations

from tests.simulation.invariants.check import Violation
from tests.simulation.invariants.watch import ALWAYS, BY_NAME, Invariants

__all__ = ["ALWAYS", "BY_NAME", "Invariants", "Violation"]
