from __future__ import annotations

from pathlib import Path

import pytest

from local.secrets import kept_secret


def test_is_drawn_once_for_its_owner_only(tmp_path: Path) -> None:
    secret = kept_secret(tmp_path / "a")
    assert len(secret) == 48
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert kept_secret(tmp_path / "a") == secret != kept_secret(tmp_path / "b")


@pytest.mark.parametrize("left", [b"", b"12ab", b"\xff\xfe", b"x" * 48])
def test_a_file_that_is_not_whole_is_replaced(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a").write_bytes(left)
    (tmp_path / "a.part").write_bytes(b"of a writer that died")
    assert len(bytes.fromhex(kept_secret(tmp_path / "a"))) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_permissions_that_are_too_wide_are_narrowed(tmp_path: Path) -> None:
    secret = kept_secret(tmp_path / "a")
    (tmp_path / "a").chmod(0o644)
    assert kept_secret(tmp_path / "a") == secret
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
