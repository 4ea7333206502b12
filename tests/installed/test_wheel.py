"""The wheel has what its processes read at work, beside Python: scripts, profiles, schemas, manifests."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
READ_AT_WORK = ("jobs/*.lua", "jobs/profiles/*.json", "eventing/schemas/*.json", "mochi/py.typed")


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "uv" / "bin" / "uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for pattern in READ_AT_WORK for path in ROOT.glob(pattern)}
    wanted |= {f"local/knative/{path.name}" for path in ROOT.glob("knative/base/*.yaml")}
    assert len(wanted) > 10
    assert wanted <= names
    assert not {name for name in names if name.startswith(("tests/", "bench/"))}
