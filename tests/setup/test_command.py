"""`make cluster` at its edges: which cluster it takes, what it refuses, what it tells a person."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.setup.__main__ import main
from tests.cluster.setup.cluster import TestCluster
from tests.cluster.setup.commands import SetupError
from tests.cluster.setup.images import NAMES
from tests.cluster.setup.installing import apply, render
from tests.setup.conftest import Described

#: A script like the one that starts a cluster: it says what it does, and prints what a shell is to do.
UP = """#!/bin/bash
echo "starting" >&2
echo "export KUBECONFIG=/somewhere/admin"
echo 'export PATH=/somewhere/bin:$PATH   # kubectl'
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: bucket, namespace: video}
spec: {image: "dev.local/s3:2", from: [{name: app-config-1}]}
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "up"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_without_a_cluster_and_without_a_script_it_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main(["up", "--up", str(tmp_path / "up"), "--folder", str(tmp_path / "ours")]) == 1
    assert "set KUBECONFIG to a cluster with Knative and KServe" in capsys.readouterr().err


def test_what_the_script_prints_is_what_is_used(tmp_path: Path) -> None:
    started = TestCluster.of(str(script(tmp_path, UP)), os.environ).start()
    assert started == {"KUBECONFIG": "/somewhere/admin", "PATH": f"/somewhere/bin:{os.environ['PATH']}"}


def test_a_script_that_fails_is_said(tmp_path: Path) -> None:
    cluster = TestCluster.of(str(script(tmp_path, "#!/bin/bash\nexit 1\n")), os.environ)
    with pytest.raises(SetupError, match="started no cluster"):
        cluster.start()


def test_what_lies_beside_the_script_ends_the_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = ["down", "--up", str(tmp_path / "up"), "--folder", str(tmp_path / "ours")]
    assert main(down) == 1
    assert "only a cluster that CLUSTER_UP starts" in capsys.readouterr().err
    script(tmp_path, '#!/bin/bash\necho "$0 $*" >>"${0%/*}/told"\n').rename(tmp_path / "down")
    assert main(down) == 0
    assert main([*down, "--purge"]) == 0
    assert (tmp_path / "told").read_text() == f"{tmp_path}/down \n{tmp_path}/down --purge\n"


def test_a_cluster_of_ones_own_is_not_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    folder = str(tmp_path / "ours")
    assert main(["up", "--up", str(tmp_path / "up"), "--folder", folder]) == 1
    said = capsys.readouterr().err
    assert all(f"--image {name}=" in said for name in NAMES)
    assert main(["up", "--up", str(tmp_path / "up"), "--folder", folder, "--image", "s3=a:1"]) == 1
    assert "given are s3" in capsys.readouterr().err


def test_an_image_that_nobody_builds_is_refused_before_anything_is_applied(
    cluster: Described, tmp_path: Path
) -> None:
    (tmp_path / "kustomization.yaml").write_text("images: [{name: dev.local/s3, newTag: '2'}]\n")
    cluster.renders(JOB.replace("s3:2", "other:2"))
    with pytest.raises(SetupError, match=r"unknown images dev\.local/other:2"):
        render(tmp_path)
    assert cluster.told == []


@pytest.mark.parametrize(
    ("there", "removed"),
    [
        ({"image": "dev.local/s3:1", "from": [{"name": "app-config-1"}]}, True),
        ({"image": "dev.local/s3:2", "from": [{"name": "app-config-0"}]}, True),
        ({"image": "dev.local/s3:2", "from": [{"name": "app-config-1"}, {"name": "other"}]}, True),
        ({"image": "dev.local/s3:2"}, True),
        ({"image": "dev.local/s3:2", "from": [{"name": "app-config-1", "optional": False}]}, False),
    ],
)
def test_a_job_that_says_something_else_makes_room_for_the_new_one(
    cluster: Described, tmp_path: Path, there: dict[str, object], removed: bool
) -> None:
    (tmp_path / "kustomization.yaml").write_text("images: [{name: dev.local/s3, newTag: '2'}]\n")
    cluster.renders(JOB)
    another = {"metadata": {"name": "other", "namespace": "video"}, "spec": {"image": "of another:1"}}
    cluster.holds("jobs", {"metadata": {"name": "bucket", "namespace": "video"}, "spec": there}, another)
    apply(tmp_path, render(tmp_path))
    deleted = ["delete job bucket -n video --ignore-not-found"] if removed else []
    assert cluster.told == [*deleted, f"apply -k {tmp_path}"]
