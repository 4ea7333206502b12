"""The activator of a test cluster, as docs/install.md sets it: it sends to pods, never to their Service."""

from __future__ import annotations

from tests.cluster.setup.commands import timed
from tests.cluster.setup.kube import kubectl

__all__ = ["send_to_pods"]

_IN = ("-n", "knative-serving")
_MODE = '{"data": {"mesh-compatibility-mode": "disabled"}}'


def send_to_pods() -> None:
    """Set it, unless it is set, and start the activator again: it reads this once. Raises SetupError."""
    mode = "jsonpath={.data.mesh-compatibility-mode}"
    if kubectl("get", "configmap", "config-network", *_IN, "-o", mode) == "disabled":
        return
    with timed("the activator"):
        kubectl("patch", "configmap", "config-network", *_IN, "--type=merge", "-p", _MODE)
        kubectl("rollout", "restart", "deployment/activator", *_IN)
        kubectl("rollout", "status", "deployment/activator", *_IN, "--timeout=180s")
