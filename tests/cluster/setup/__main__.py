"""`python -m tests.cluster.setup up | down | dockerfile`: what `make cluster` and its like run.

`up` can be run again at any time: it does what is missing. Two at once wait for each other.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import MochiError
from tests.cluster.setup.activator import send_to_pods
from tests.cluster.setup.cluster import TestCluster
from tests.cluster.setup.commands import SetupError, say, timed
from tests.cluster.setup.images import NAMES, Images
from tests.cluster.setup.installing import apply, generate, images_of, render
from tests.cluster.setup.kube import items
from tests.cluster.setup.readiness import wait

_ROOT = Path(__file__).resolve().parents[3]
_KINDS = "pods,statefulsets,replicasets,jobs,revisions.serving.knative.dev"


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 with what was wrong on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.setup", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "dockerfile"))
    parser.add_argument(
        "--up", default=_ROOT.parent / "shared/cluster/up", metavar="SCRIPT", help="starts a cluster"
    )
    parser.add_argument("--overlay", default="cpu", help="of knative/overlays (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=_ROOT / ".cluster", help="for what is generated and cached"
    )
    parser.add_argument("--image", action="append", default=[], metavar="NAME=REFERENCE", help=_images_help())
    parser.add_argument("--uv", default="uv", help="the program")
    parser.add_argument(
        "--seconds", type=float, default=600, help="until all is ready (default: %(default)s)"
    )
    parser.add_argument(
        "--purge", action="store_true", help="down: forget the cluster's objects and images too"
    )
    given = parser.parse_args(arguments)
    cluster = TestCluster.of(str(given.up), os.environ)
    try:
        with _alone(given.folder):
            if given.action == "up":
                _up(given, cluster)
            elif given.action == "down":
                cluster.stop(*(["--purge"] if given.purge else []))
            else:
                with timed("the predictor's Dockerfile, without torch"):
                    say(_images(given, cluster).try_dockerfile())
    except (SetupError, MochiError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _images_help() -> str:
    return f"an image that the cluster's nodes can pull, for one of {', '.join(NAMES)}; nothing is built then"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(given: argparse.Namespace, cluster: TestCluster) -> None:
    named = os.environ.get("KUBECONFIG", "")
    references = _given_images(given.image)
    if named and not cluster.is_named_by(named):
        if not references:
            raise SetupError(_where_from(named))
    else:
        os.environ.update(cluster.start())
        send_to_pods()
    made = None if references else _images(given, cluster)
    if made is not None:
        references = {name: f"{name}:{tag}" for name, tag in made.make().items()}
    _install(given, references)
    if made is not None:
        made.tidy(_used())
    if not named:
        folder = os.environ["PATH"].partition(":")[0]
        say(f"for this shell:\n  export KUBECONFIG={os.environ['KUBECONFIG']}\n  export PATH={folder}:$PATH")


def _install(given: argparse.Namespace, references: Mapping[str, str]) -> None:
    overlay, generated = _ROOT / "knative/overlays" / given.overlay, given.folder / "overlay"
    if not overlay.is_dir():
        raise SetupError(f"--overlay {given.overlay}: no such folder in knative/overlays")
    generate(overlay, generated, references)
    documents = render(generated)
    with timed("applied"):
        apply(generated, documents)
    with timed("ready"):
        wait(documents, given.seconds)


def _used() -> frozenset[str]:
    """The images that anything in the cluster names."""
    return frozenset(name for resource in items(_KINDS, "--all-namespaces") for name in images_of(resource))


def _images(given: argparse.Namespace, cluster: TestCluster) -> Images:
    return Images(_ROOT, given.folder, cluster.tools, cluster.node, given.uv)


def _given_images(given: Sequence[str]) -> Mapping[str, str]:
    """Name in the overlay to reference, of all four or of none. Raises SetupError."""
    chosen = dict(text.partition("=")[::2] for text in given)
    if chosen and set(chosen) != set(NAMES):
        raise SetupError(
            f"--image: one for each of {', '.join(NAMES)} is wanted; given are {', '.join(chosen)}"
        )
    return {NAMES[name]: reference for name, reference in chosen.items()}


def _where_from(kubeconfig: str) -> str:
    return (
        f"{kubeconfig}: images are put into the node of a test cluster only. Build functions/Dockerfile and\n"
        "inference_service/Dockerfile, push them to where your cluster pulls from, and name all four:\n"
        'make cluster ARGS="--image functions=… --image predictor=… --image redis=valkey/valkey:8.1.4-alpine '
        '--image s3=chrislusf/seaweedfs:4.48"'
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
