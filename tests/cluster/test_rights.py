"""What each workload may ask of the cluster's API, as the cluster itself answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.system import NAMESPACE

pytestmark = pytest.mark.core

#: Workloads that ask nothing of the API. `default` is the account of whatever names none.
MAY_NOTHING = ("default", "submit", "completion", "reaper", "predictor", "redis", "s3", "bucket")
#: Each makes one Secret, once.
MAY_CREATE_SECRETS = ("redis-password", "s3-credentials")
#: A verb, and a resource: `pods/exec`, `jobs.batch`.
Asked = tuple[str, str]
#: What somebody who got into a pod would ask for.
TEMPTING: Sequence[Asked] = [
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


def may(
    kubectl: Kubectl, who: Mapping[str, object], asked: Sequence[Asked], namespace: str
) -> Sequence[bool]:
    """What the API server says to each: one review an action, as `kubectl auth can-i --as` makes them."""
    items = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**who, "resourceAttributes": {"namespace": namespace, **attributes(*each)}},
        }
        for each in asked
    ]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    said = kubectl("create", "-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}', given=given).split()
    assert len(said) == len(asked)
    assert set(said) <= {"true", "false"}
    return [word == "true" for word in said]


def attributes(verb: str, resource: str) -> Mapping[str, str]:
    """Of `pods/exec`, or `jobs.batch`."""
    name, _, group = resource.partition(".")
    name, _, sub = name.partition("/")
    return {"verb": verb, "resource": name, "subresource": sub, "group": group}


def account(name: str) -> Mapping[str, object]:
    """A ServiceAccount of ours, as the API server knows it."""
    groups = ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"]
    return {"user": f"system:serviceaccount:{NAMESPACE}:{name}", "groups": groups}


def allowed(kubectl: Kubectl, name: str, namespace: str = NAMESPACE) -> Sequence[Asked]:
    """Those of the tempting actions that an account may do."""
    answers = may(kubectl, account(name), TEMPTING, namespace)
    return [asked for asked, yes in zip(TEMPTING, answers, strict=True) if yes]


def test_every_account_is_in_the_matrix(kubectl: Kubectl) -> None:
    there = {account["metadata"]["name"] for account in kubectl.list("serviceaccount")}
    assert there - {"weights"} == {*MAY_NOTHING, *MAY_CREATE_SECRETS}


@pytest.mark.parametrize("name", MAY_NOTHING)
def test_a_workload_may_do_nothing_with_the_api(kubectl: Kubectl, name: str) -> None:
    assert allowed(kubectl, name) == []


@pytest.mark.parametrize("name", MAY_CREATE_SECRETS)
def test_who_makes_a_secret_may_do_that_alone_and_here_alone(kubectl: Kubectl, name: str) -> None:
    assert allowed(kubectl, name) == [("create", "secrets")]
    assert allowed(kubectl, name, "default") == []


def test_an_administrator_may(kubectl: Kubectl) -> None:
    """The questions are asked rightly: who may do all of it is told so."""
    administrator = {"user": "somebody", "groups": ["system:masters"]}
    assert all(may(kubectl, administrator, TEMPTING, NAMESPACE))
