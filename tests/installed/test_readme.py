"""The README's examples, run as they stand there, in their order, in one folder, on a running system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.system import mochi_up

ROOT = Path(__file__).parents[2]
DEFAULT_URL = "http://127.0.0.1:8080"


def test_every_example_of_the_readme_works(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    examples = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(examples) >= 4
    with mochi_up(tmp_path / "data") as system:
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "MOCHI_URL": system.url,
        }
        for language, example in examples:
            command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
            done = subprocess.run(
                [*command, example.replace(DEFAULT_URL, system.url)],
                cwd=tmp_path,
                env=environ,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"
    for name in ("circle.mp4", "video.mp4"):
        assert b"ftyp" in (tmp_path / name).read_bytes()[:12]
