"""`python -m mochi` is the `mochi` command."""

from __future__ import annotations

from mochi.cli import main

__all__: list[str] = []

main()
