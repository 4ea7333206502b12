"""What each workload may ask of the cluster's API, as the cluster itself answers: `kubectl auth can-i`."""

from __future__ import annotations

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.system import NAMESPACE

pytestmark = pytest.mark.core

#: Workloads that ask nothing of the API. `default` is the account of whatever names none.
MAY_NOTHING = ("default", "submit", "completion", "reaper", "predictor", "redis", "s3", "bucket")
#: Each makes one Secret, once.
MAY_CREATE_SECRETS = ("redis-password", "s3-credentials")
#: What somebody who got into a pod would ask for.
TEMPTING = [
    *((verb, "secrets") for verb in ("get", "list", "watch", "create", "update", "patch", "delete")),
    *((verb, "configmaps") for verb in ("get", "list", "update")),
    *((verb, "pods") for verb in ("get", "list", "create", "delete")),
    *(("create", sub) for sub in ("pods/exec", "pods/portforward", "pods/attach", "serviceaccounts/token")),
    *(("get", sub) for sub in ("pods/log", "nodes/proxy", "services/proxy")),
    *((verb, "statefulsets.apps") for verb in ("get", "create", "patch")),
    *((verb, "jobs.batch") for verb in ("create", "delete")),
    *((verb, "rolebindings.rbac.authorization.k8s.io") for verb in ("create", "bind", "escalate")),
    *((verb, "services.serving.knative.dev") for verb in ("get", "patch", "create")),
    *((verb, "inferenceservices.serving.kserve.io") for verb in ("get", "patch", "create")),
    *((verb, "triggers.eventing.knative.dev") for verb in ("get", "create", "delete")),
    ("get", "namespaces"),
    ("impersonate", "users"),
]


def may(kubectl: Kubectl, account: str, verb: str, resource: str, *more: str) -> bool:
    """Whether a ServiceAccount of ours may do it; `kubectl` must be of an administrator to ask."""
    who = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    groups = [f"--as-group=system:serviceaccounts{group}" for group in ("", f":{NAMESPACE}")]
    said = kubectl("auth", "can-i", verb, resource, who, *groups, *more, check=False).strip()
    assert said in ("yes", "no"), (account, verb, resource, said)
    return said == "yes"


def test_every_account_is_in_the_matrix(kubectl: Kubectl) -> None:
    there = {account["metadata"]["name"] for account in kubectl.list("serviceaccount")}
    assert there - {"weights"} == {*MAY_NOTHING, *MAY_CREATE_SECRETS}


@pytest.mark.parametrize("account", MAY_NOTHING)
def test_a_workload_may_do_nothing_with_the_api(kubectl: Kubectl, account: str) -> None:
    assert [asked for asked in TEMPTING if may(kubectl, account, *asked)] == []


@pytest.mark.parametrize("account", MAY_CREATE_SECRETS)
def test_who_makes_a_secret_may_do_that_alone(kubectl: Kubectl, account: str) -> None:
    allowed = [asked for asked in TEMPTING if may(kubectl, account, *asked)]
    assert allowed == [("create", "secrets")]
    assert not may(kubectl, account, "create", "secrets", "--namespace=default")


def test_an_administrator_may(kubectl: Kubectl) -> None:
    """The question is asked rightly: who may, is told so."""
    assert kubectl("auth", "can-i", "delete", "pods").strip() == "yes"
