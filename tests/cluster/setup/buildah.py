"""Builds a Dockerfile where there is no container engine and no registry: Debian's buildah, as root.

The image that a Dockerfile begins with cannot be pulled here. One from Debian's own packages stands in for
it, under its full name: the same release of the same distribution, with the same minor version of Python.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.setup.commands import install, logged, output, say

__all__ = ["Buildah"]

BASE = "docker.io/library/python:3.11-slim-bookworm"
_RELEASE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_UNREAD = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
#: What this machine needs to reach the package index. Mounted while a command runs, and in no image.
_MACHINE = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf", "/etc/uv/uv.toml")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Buildah:
    """The program, with its images in a folder of ours."""

    folder: Path

    def build(self, root: Path, dockerfile: str, name: str) -> None:
        """Build a Dockerfile of `root`; its steps are kept for the next build. Raises SetupError."""
        self._base()
        context = ("--file", str(root / dockerfile), "--tag", name, str(root))
        self._bud(Path(dockerfile).parent.name, "--layers", *self._mounts(), *context)

    def attempt(self, root: Path, dockerfile: str, *arguments: str) -> str:
        """Build a Dockerfile of `root` with build arguments NAME=VALUE, and keep nothing of it.

        Returns the size of the image. Raises SetupError.
        """
        self._base()
        name = "dev.local/attempt:1"
        given = [f"--build-arg={argument}" for argument in arguments]
        context = ("--file", str(root / dockerfile), "--tag", name, str(root))
        self._bud(f"{Path(dockerfile).parent.name}-attempt", *self._mounts(), *given, *context)
        size = output(*self._command(), "images", "--format", "{{.Size}}", name).strip()
        output(*self._command(), "rmi", name)
        return size

    def save(self, name: str, archive: Path) -> None:
        """Write an image into a tar file for containerd; not compressed, as it stays on this machine."""
        output(*self._command(), "push", "--quiet", name, f"docker-archive:{archive}:{name}")

    def forget(self, keep: str) -> None:
        """Remove the earlier builds of an image, and the layers that only they have."""
        repository = keep.rpartition(":")[0]
        listed = output(*self._command(), "images", "--format", "{{.Name}}:{{.Tag}}").split()
        for name in listed:
            if name.startswith(f"{repository}:") and name != keep:
                output(*self._command(), "rmi", name)

    def _command(self) -> Sequence[str]:
        install("buildah")
        root, run = self.folder / "images", self.folder / "run"
        # In a mount namespace of its own: it leaves a mount behind, and the folder could not be removed.
        alone = ("unshare", "--mount", "buildah", "--root", str(root), "--runroot", str(run))
        return (*alone, "--storage-driver", self._driver())

    def _driver(self) -> str:
        """The driver; vfs, which copies every layer, where the file system takes no overlay."""
        chosen = self.folder / "driver"
        if not chosen.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            chosen.write_text("overlay" if self._takes_overlays() else "vfs", "ascii")
        return chosen.read_text("ascii")

    def _takes_overlays(self) -> bool:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            parts = [Path(folder) / name for name in ("lower", "upper", "work", "merged")]
            for part in parts:
                part.mkdir()
            lower, upper, work, merged = map(str, parts)
            options = f"lowerdir={lower},upperdir={upper},workdir={work}"
            script = 'mount -t overlay overlay -o "$1" "$2" 2>/dev/null && umount "$2" && echo yes || echo no'
            return output("sh", "-c", script, "sh", options, merged).strip() == "yes"

    def _bud(self, log: str, *arguments: str) -> None:
        command = (*self._command(), "bud", "--isolation", "chroot", "--pull-never")
        logged(self.folder.parent / "log" / f"{log}.log", *command, *arguments)

    def _base(self) -> None:
        listed = output(*self._command(), "images", "--format", "{{.Name}}:{{.Tag}}").split()
        if BASE in listed:
            return
        install("debootstrap")
        say(f"making the image that stands in for {BASE}")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            root = Path(folder) / "root"
            script = ("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _RELEASE, root)
            logged(self.folder.parent / "log" / "base.log", *script)
            for unread in _UNREAD:
                shutil.rmtree(root / unread)
                (root / unread).mkdir()
            (Path(folder) / "Dockerfile").write_text(
                f"FROM scratch\nCOPY root /\nENV PATH={_PATH}\n", "utf-8"
            )
            self._bud("base-image", "--tag", BASE, folder)

    def _mounts(self) -> Sequence[str]:
        """The machine's certificates and index settings; uv takes the machine's certificates if told so."""
        trust = self.folder / "uv.toml"
        trust.write_text("system-certs = true\n", "ascii")
        pairs = [(path, path) for path in _MACHINE if Path(path).exists()]
        if all(path != "/etc/uv/uv.toml" for path, _ in pairs):
            pairs.append((str(trust), "/etc/uv/uv.toml"))
        return [word for here, there in pairs for word in ("--volume", f"{here}:{there}:ro")]
