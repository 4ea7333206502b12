"""The settings of the broker process: the system's, and the two that only it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from jobs.settings import Settings
from local.broker.routes import parse_addresses

__all__ = ["BrokerSettings", "manifests_folder"]

#: The wheel carries the manifests inside of the package; in a checkout they are beside it.
_PACKAGED = Path(__file__).resolve().parents[1] / "knative"
_MANIFESTS = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parents[1] / "knative"
_HOST = "127.0.0.1"  # nobody but this machine posts events here


@dataclass(frozen=True)
class BrokerSettings:
    """Where it listens, what it reads and whom it knows."""

    redis_url: str = field(repr=False)  # may carry a password
    host: str
    port: int
    manifests: Path  # MOCHI_MANIFESTS; a folder
    addresses: Mapping[str, str]  # MOCHI_ADDRESSES; Kind/name → URL
    log_format: str
    log_level: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read them. Raises ConfigurationError, which names the setting."""
        system = Settings.from_environ(environ)
        return cls(
            redis_url=system.redis_url,
            host=system.host if environ.get("MOCHI_HOST", "").strip() else _HOST,
            port=system.port,
            manifests=manifests_folder(environ),
            addresses=parse_addresses(environ.get("MOCHI_ADDRESSES", "")),
            log_format=system.log_format,
            log_level=system.log_level,
        )


def manifests_folder(environ: Mapping[str, str]) -> Path:
    """MOCHI_MANIFESTS, or the folder that comes along."""
    folder = environ.get("MOCHI_MANIFESTS", "").strip()
    return Path(folder) if folder else _MANIFESTS
