"""The embedded servers' command lines, as far as no other test starts them so."""

from __future__ import annotations

from pathlib import Path

from tests.servers import s3_server


def test_the_object_store_starts_below_a_path_that_no_socket_may_have(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with s3_server(folder):
        assert (folder / "tmp" / "filer.sock").is_socket()
