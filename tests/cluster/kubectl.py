"""The cluster as `kubectl` shows it: reading, changing, forwarding a port. Knows nothing of the product."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import which
from typing import Any, TypeAlias

__all__ = ["Kubectl", "Resource", "condition", "pod_is_living"]

#: A resource of Kubernetes, as JSON.
Resource: TypeAlias = dict[str, Any]

_SECONDS = 60.0  # that one command may take; what is waited for on the cluster is polled


class Kubectl:
    """Commands in one namespace of the cluster that KUBECONFIG names."""

    def __init__(self, namespace: str) -> None:
        program = which("kubectl")
        assert program, "no kubectl on the PATH"
        self._command = (program, "-n", namespace)

    def __call__(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """What a command prints. Fails with what it says on its error output."""
        return self.run(*arguments, given=given, check=check).stdout

    def run(
        self, *arguments: str, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """The same, with its error output: there are the warnings of the API server and of its webhooks."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        command = " ".join(arguments)
        assert not check or done.returncode == 0, f"kubectl {command}: {done.stderr.strip()}"
        return done

    def get(self, kind: str, name: str) -> Resource:
        """One resource."""
        resource: Resource = json.loads(self("get", kind, name, "-o", "json"))
        return resource

    def find(self, kind: str, name: str) -> Resource | None:
        """One resource; None where there is none of this name."""
        said = self("get", kind, name, "-o", "json", "--ignore-not-found")
        resource: Resource | None = json.loads(said) if said.strip() else None
        return resource

    def list(self, kind: str, selector: str = "") -> Sequence[Resource]:
        """All resources of a kind, or those with these labels."""
        chosen = ["-l", selector] if selector else []
        items: list[Resource] = json.loads(self("get", kind, "-o", "json", *chosen))["items"]
        return items

    def patch(self, kind: str, name: str, operations: Sequence[Resource]) -> None:
        """Change a resource by JSON patch operations."""
        self("patch", kind, name, "--type=json", "-p", json.dumps(list(operations)))

    def python(self, pod: str, container: str, code: str) -> str:
        """What a Python program prints that is run in a container."""
        return self("exec", pod, "-c", container, "--", "python3", "-c", code).strip()

    @contextmanager
    def forward(self, target: str, port: int | str, local: int = 0) -> Iterator[int]:
        """A port of this machine that leads to a port of `target` (`service/name`), while the block runs."""
        command = [*self._command, "port-forward", target, f"{local or ''}:{port}"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                match = re.search(r"127\.0\.0\.1:(\d+)", line)
                assert match, f"kubectl port-forward {target}: {line.strip()}"
                # It says a line for each connection, and a pipe that nobody reads fills.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield int(match[1])
            finally:
                process.terminate()


def condition(resource: Resource, kind: str = "Ready") -> str:
    """The status of a condition: `True`, `False` or `Unknown`; empty where there is none yet."""
    status = resource.get("status", {})
    if status.get("observedGeneration", resource["metadata"].get("generation")) != resource["metadata"].get(
        "generation"
    ):
        return ""  # of the resource as it was before its last change
    found = (c["status"] for c in status.get("conditions", ()) if c["type"] == kind)
    return next(found, "")


def pod_is_living(pod: Resource) -> bool:
    """Whether a pod is neither going nor gone."""
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not ended and "deletionTimestamp" not in pod["metadata"]
