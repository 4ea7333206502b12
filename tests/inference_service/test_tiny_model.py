from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference_service.mochi_loading import build_model
from inference_service.tiny_model import TINY_MOCHI, ModelParts, tiny_model_folder


class Builder:
    """Writes two small files in place of a model."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self, parts: ModelParts, folder: Path) -> None:
        self.calls += 1
        (folder / "vae").mkdir()
        (folder / "vae" / "weights").write_text("weights")
        if self.error:
            raise self.error
        (folder / "model_index.json").write_text(json.dumps({"seed": parts.seed}))


def test_the_trained_model_is_taken_where_it_is_there(tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "model_index.json").write_text("{}")
    assert tiny_model_folder(tmp_path, build := Builder(), trained) == trained
    assert build.calls == 0


def test_is_built_once(tmp_path: Path) -> None:
    build = Builder()
    folder = tiny_model_folder(tmp_path, build, tmp_path / "none")
    assert tiny_model_folder(tmp_path, build, tmp_path / "none") == folder
    assert build.calls == 1
    assert (folder / "vae" / "weights").read_text() == "weights"


@pytest.mark.parametrize("damage", ["cut", "removed", "unlisted"])
def test_a_torn_folder_is_built_again(tmp_path: Path, damage: str) -> None:
    build = Builder()
    folder = tiny_model_folder(tmp_path, build, tmp_path / "none")
    match damage:
        case "cut":
            (folder / "vae" / "weights").write_text("wei")
        case "removed":
            (folder / "vae" / "weights").unlink()
        case "unlisted":
            (folder / "files.json").write_text('{"vae/')
    assert tiny_model_folder(tmp_path, build, tmp_path / "none") == folder
    assert build.calls == 2
    assert (folder / "vae" / "weights").read_text() == "weights"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        tiny_model_folder(tmp_path, Builder(OSError("disk full")), tmp_path / "none")
    assert list((tmp_path / "models").iterdir()) == []


def test_several_processes_may_start_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: tiny_model_folder(tmp_path, Builder(), tmp_path / "none"), range(4)))
    (folder,) = folders
    assert list((tmp_path / "models").iterdir()) == [folder]


def test_the_same_parts_give_the_same_weights(tmp_path: Path, tiny_folder: Path) -> None:
    build_model(TINY_MOCHI, tmp_path)
    for name in ("vae", "transformer"):
        weights = Path(name) / "diffusion_pytorch_model.safetensors"
        assert (tmp_path / weights).read_bytes() == (tiny_folder / weights).read_bytes()


def test_another_model_has_another_folder() -> None:
    assert TINY_MOCHI.digest() != ModelParts({}, {}, {}, (), 1).digest()
