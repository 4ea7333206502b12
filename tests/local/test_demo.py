"""`mochi demo` as a user has it; the model does nothing, so that it is fast."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from local.video_check import Expected, check_video
from tests.local.real_up import holders, mochi, only_line


def test_writes_a_video_and_says_how_long_everything_took(tmp_path: Path) -> None:
    output = tmp_path / "made.mp4"
    output.write_bytes(b"of yesterday")
    data_dir = tmp_path / "data"
    with mochi(tmp_path, "demo", "a red circle", "-o", str(output), data_dir=data_dir) as demo:
        assert demo.process.wait(100) == 0, demo.err
    path, *rows = demo.out.splitlines()
    assert path == str(output)
    check_video(output, Expected(width=64, height=64, frames=7, fps=30))
    parts = [row.strip().split("  ")[0] for row in rows]
    assert parts[:2] == ["start", "waiting"]
    assert parts[-4:] == ["download", "check", "stop", "all of it"]
    assert {"encoding", "uploading"} <= set(parts)
    assert 'completed: "a red circle", 64x64, 7 frames at 30 fps' in demo.err
    assert holders(data_dir) == {}
    assert {p.name for p in tmp_path.iterdir()} == {"made.mp4", "data", "out", "err"}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [(" \n", "prompt: is blank (allowed: "), ("x" * 2001, "prompt: has 2001 characters (allowed: ")],
)
def test_a_prompt_that_is_refused_starts_nothing(tmp_path: Path, prompt: str, said: str) -> None:
    with mochi(tmp_path, "demo", prompt, data_dir=tmp_path / "data") as demo:
        assert demo.process.wait(60) == 2
    assert only_line(demo.err).startswith(f"error: {said}")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "err"}


def test_an_output_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    with mochi(tmp_path, "demo", "-o", str(tmp_path), data_dir=tmp_path / "data") as demo:
        assert demo.process.wait(60) == 2
    assert only_line(demo.err).startswith(f"error: --output: {tmp_path}: is a folder")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_stops_everything(tmp_path: Path, number: int, code: int) -> None:
    output = tmp_path / "demo.mp4"
    output.write_bytes(b"of yesterday")
    with mochi(tmp_path, "demo", "-o", str(output), data_dir=tmp_path / "data") as demo:
        demo.says("starting completion")
        assert demo.end(number) == code
    assert demo.err.splitlines()[-1] == "interrupted"
    assert output.read_bytes() == b"of yesterday"
    assert holders(tmp_path / "data") == {}


def test_a_system_that_cannot_start(tmp_path: Path) -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with mochi(tmp_path, "demo", data_dir=tmp_path / "data", settings=settings) as demo:
        assert demo.process.wait(60) == 1
    assert only_line(demo.err).startswith("error: REDIS_URL: ")
    assert demo.out == ""
    assert holders(tmp_path / "data") == {}
