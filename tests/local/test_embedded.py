"""The embedded servers' command lines, as far as no other test starts them so."""

from __future__ import annotations

from pathlib import Path

from local.embedded import free_range
from tests.servers import s3_server


def test_the_object_store_starts_below_a_path_that_no_socket_may_have(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with s3_server(folder):
        assert (folder / "tmp" / "filer.sock").is_socket()


def test_a_port_that_is_promised_to_another_is_not_taken() -> None:
    assert free_range(10, spared=range(20_000, 31_000)) >= 31_000
