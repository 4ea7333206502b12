"""The installation page's examples, run as they stand there, in their order, in one shell, on the cluster.

Those marked `sh`: what to check, and the first video. The others install a cluster and need a registry.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.system import PREDICTOR, System
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PORT = "8080"


@pytest.mark.timeout(900)
def test_the_installation_page_leads_to_a_video(system: System, tmp_path: Path) -> None:  # noqa: ARG001  # it is ready
    text = (ROOT / "docs" / "install.md").read_text("utf-8")
    examples = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(examples) >= 3
    script = "".join(examples).replace(f"{PORT}:80 ", f"{free_port()}:80 ")
    (port,) = re.findall(r"service/kourier (\d+):80 ", script)
    script = script.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": os.environ["KUBECONFIG"],
    }
    # A session of its own: the port-forwards in it outlive the shell, and their pipes with them.
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environ,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(800)
        finally:
            with suppress(ProcessLookupError):  # it failed before it had started one
                os.killpg(process.pid, signal.SIGTERM)
    told = (tmp_path / "said").read_text("utf-8", "replace")
    assert code == 0, told
    assert re.search(rf"^{PREDICTOR}\s+http\S+\s+True", told, re.MULTILINE), told
    assert b"ftyp" in (tmp_path / "circle.mp4").read_bytes()[:12]
