from __future__ import annotations

import pytest

from functions.tracing import traceparent_of
from jobs.logs import trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("given", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-00-what-the-future-will-be"])
def test_a_valid_trace_is_taken_over(given: str) -> None:
    assert traceparent_of(given) == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_anything_else_begins_a_new_trace(given: str | None) -> None:
    begun, other = traceparent_of(given), traceparent_of(given)
    assert begun != other
    assert traceparent_of(begun) == begun
    assert trace_id(begun)


def test_the_first_valid_one_counts() -> None:
    assert traceparent_of("nonsense", f"00-{TRACE}-{SPAN}-01") == f"00-{TRACE}-{SPAN}-01"
