"""Which cluster: the one that KUBECONFIG names; where it names none, one for tests that a script starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.setup.commands import SetupError, say
from tests.cluster.setup.containerd import Containerd

__all__ = ["TestCluster"]

#: Where the script keeps its cluster.
_STATE = "/var/lib/cluster"
#: Runs the script, whose lines are for a shell, and prints what they set. Its own messages pass through.
_READ = 'lines=$("$1") && eval "$lines" && printf "%s\\n%s\\n" "$KUBECONFIG" "$PATH"'


@dataclass(frozen=True)
class TestCluster:
    """A script that starts a cluster of one node on this machine, with what lies beside it."""

    __test__ = False  # for pytest: not a class of tests

    up: Path
    state: Path

    @classmethod
    def of(cls, up: str, environ: Mapping[str, str]) -> TestCluster:
        """The script at `up`, which may not be there."""
        return cls(Path(up).resolve(), Path(environ.get("CLUSTER_STATE") or _STATE))

    @property
    def node(self) -> Containerd:
        """Its one node."""
        return Containerd(self.state / "run" / "containerd.sock")

    @property
    def tools(self) -> Path:
        """Where the programs lie that make images."""
        return self.up.parent

    def is_named_by(self, kubeconfig: str) -> bool:
        """Whether a KUBECONFIG is this cluster's."""
        return Path(kubeconfig).resolve() == (self.state / "kubeconfig" / "admin").resolve()

    def start(self) -> Mapping[str, str]:
        """Start what does not run; the KUBECONFIG and PATH to use. Raises SetupError."""
        if not os.access(self.up, os.X_OK):
            raise SetupError(
                f"KUBECONFIG names no cluster, and there is no {self.up} that starts one:\n"
                "set KUBECONFIG to a cluster with Knative and KServe, or CLUSTER_UP to such a script"
            )
        if not self.state.exists():
            say(f"{self.up}: on a new machine this takes half an hour")
        done = subprocess.run(
            ["/bin/bash", "-c", _READ, "up", self.up],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        if done.returncode != 0 or len(lines) < 2:
            raise SetupError(f"{self.up} started no cluster; what it said is above")
        return {"KUBECONFIG": lines[-2], "PATH": lines[-1]}

    def stop(self, *options: str) -> None:
        """End it. Raises SetupError."""
        down = self.up.parent / "down"
        if not os.access(down, os.X_OK):
            raise SetupError(f"there is no {down}: only a cluster that CLUSTER_UP starts is stopped here")
        if subprocess.run([down, *options], stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise SetupError(f"{down} failed; what it said is above")
