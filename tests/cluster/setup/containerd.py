"""The images that a test cluster's node has. There is no registry: what a pod names must be here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.setup.commands import output

__all__ = ["Containerd"]


@dataclass(frozen=True)
class Containerd:
    """The container runtime of the node."""

    socket: Path

    def names(self) -> frozenset[str]:
        """The full names of all images."""
        return frozenset(self._images("ls", "--quiet").split())

    def load(self, archive: Path) -> None:
        """Take the images of a tar file. What is there already stays."""
        self._images("import", str(archive))

    def tag(self, name: str, other: str) -> None:
        """Give an image another name too, which may have been another image's."""
        self._images("tag", "--force", name, other)

    def remove(self, names: Iterable[str]) -> None:
        """Forget names; a layer goes when no image and no container needs it."""
        gone = list(names)
        if gone:
            self._images("rm", *gone)

    def _images(self, *arguments: str) -> str:
        return output("ctr", "--address", self.socket, "--namespace", "k8s.io", "images", *arguments)
