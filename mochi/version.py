"""Which version this is. Read when asked for: the look-up is too slow for the start of a command."""

from __future__ import annotations

__all__ = ["version"]


def version() -> str:
    """The version of the installed distribution `mochi-functions`."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("mochi-functions")
    except PackageNotFoundError:  # run from a folder on PYTHONPATH
        return "0+unknown"
