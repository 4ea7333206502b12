from __future__ import annotations

import pytest

from functions.errors import RangeNotSatisfiable
from functions.submit.ranges import parse_range


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("bytes=0-", "bytes 0-99/100"),
        ("bytes=0-0", "bytes 0-0/100"),
        ("bytes=10-19", "bytes 10-19/100"),
        ("bytes=90-1000", "bytes 90-99/100"),
        ("bytes=-1", "bytes 99-99/100"),
        ("bytes=-1000", "bytes 0-99/100"),
        ("Bytes=99-", "bytes 99-99/100"),
    ],
)
def test_a_range_is_cut_to_the_video(header: str, sent: str) -> None:
    found = parse_range(header, 100)
    assert str(found) == sent
    assert found is not None
    assert found.length == found.end - found.start + 1


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=1", "bytes=²-"],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_video_is_refused_with_its_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="100 bytes"):
        parse_range(header, 100)
