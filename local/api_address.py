"""Where the API listens: checked before anything is started."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from local.errors import CannotStart

__all__ = ["ApiAddress", "check_free", "explain"]


@dataclass(frozen=True)
class ApiAddress:
    """A host as the user gave it, and a port."""

    host: str
    port: int

    @property
    def reachable(self) -> str:
        """A host under which this machine reaches it: 0.0.0.0 means all, and is none."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104  # nothing listens here

    @property
    def url(self) -> str:
        """The API's URL."""
        host = f"[{self.reachable}]" if ":" in self.reachable else self.reachable
        return f"http://{host}:{self.port}"

    @property
    def public(self) -> bool:
        """Whether other machines may reach it."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def check_free(address: ApiAddress) -> None:
    """Raise CannotStart, which says what to do, unless a server could listen there now."""
    host, port = address.host, address.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotStart(_no_host(host)) from None
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
            probe.listen(1)
        except OSError as error:
            raise CannotStart(explain(error, host, port)) from None


def explain(error: OSError, host: str, port: int) -> str:
    """Why nothing can listen there, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: stop what listens there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} needs privileges: choose one from 1024 on with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return _no_host(host)
    return f"cannot listen on {host}, port {port}: {error.strerror}: choose others with --host and --port"


def _no_host(host: str) -> str:
    return f"{host!r} is no address of this machine: 127.0.0.1 and 0.0.0.0 are possible with --host"
