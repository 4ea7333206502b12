"""The built-in tiny Mochi: the trained one that ships with the package, else one with random weights.

Either has the classes of the real model and is loaded the same way as any diffusers folder. The random
one is written once, at the first start, below the scratch folder; how its classes are built is the
adapter's business (`mochi_loading.py`), and how the other was trained is that of `training/`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference_service.scratch import locked

__all__ = ["TINY_MOCHI", "TRAINED", "ModelParts", "tiny_model_folder"]

#: The trained model's diffusers folder, where the package has it.
TRAINED = Path(__file__).parent / "models" / "tiny-mochi"


@dataclass(frozen=True)
class ModelParts:
    """What to build a Mochi from: the arguments of each class, a vocabulary and the seed of its weights."""

    transformer: dict[str, Any]
    vae: dict[str, Any]
    text_encoder: dict[str, Any]  # without vocab_size
    vocabulary: tuple[tuple[str, float], ...]  # pieces of a unigram tokenizer with their log scores
    seed: int

    def digest(self) -> str:
        """Twelve hex digits that change whenever the model does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


_WORDS = (
    "a an the and of on in over with to from at by red green blue yellow white black orange purple pink "
    "circle square triangle star ball moving right left up down slowly quickly light dark background"
)


def _vocabulary() -> tuple[tuple[str, float], ...]:
    # T5's order: pad, end, unknown. Whole words score above their letters; a letter stands with and
    # without the word boundary before it, so that any ASCII text has pieces.
    letters = [c for c in string.printable if not c.isspace()]
    return (
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -8.0),
        *((f"▁{word}", -2.0) for word in dict.fromkeys(_WORDS.split()) if len(word) > 1),
        *((letter, -8.0) for letter in letters),
        *((f"▁{letter}", -7.0) for letter in letters),
    )


#: Channels are multiples of 32 because the VAE normalises in 32 groups; 12 latent channels because the
#: pipeline writes that number into its normalisation.
TINY_MOCHI = ModelParts(
    transformer={
        "num_attention_heads": 6,
        "attention_head_dim": 32,
        "num_layers": 6,
        "pooled_projection_dim": 64,
        "text_embed_dim": 64,
        "time_embed_dim": 128,
    },
    vae={
        "encoder_block_out_channels": (32, 32, 64, 64),
        "decoder_block_out_channels": (32, 32, 128, 96),
        "layers_per_block": (0, 0, 1, 1, 1),
        "add_attention_block": (False, False, False, False, False),
        "latents_mean": (0.0,) * 12,
        "latents_std": (1.0,) * 12,
    },
    text_encoder={
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
    },
    vocabulary=_vocabulary(),
    seed=20260101,
)


def tiny_model_folder(
    scratch_dir: Path, build: Callable[[ModelParts, Path], None], trained: Path = TRAINED
) -> Path:
    """The folder `trained` if it is there, else a random model's below `scratch_dir`, written if need be.

    The name holds a digest of the model, so that another version of it is another folder. A folder
    appears whole, by one rename; one whose files do not match its list (a torn disk, a deleted file) is
    built again. Several processes may do this at once: one builds, the others wait.
    Raises OSError where the folder cannot be written.
    """
    if (trained / "model_index.json").is_file():
        return trained
    models = scratch_dir / "models"
    folder = models / f"tiny-mochi-{TINY_MOCHI.digest()}"
    with locked(scratch_dir):
        if _whole(folder):
            return folder
        part = models / f".part-{folder.name}"
        for leftover in (part, folder):  # of a process that was killed; of a torn disk
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            build(TINY_MOCHI, part)
            sizes = {str(p.relative_to(part)): p.stat().st_size for p in part.rglob("*") if p.is_file()}
            (part / _LIST).write_text(json.dumps(sizes, indent=1), "utf-8")
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


_LIST = "files.json"  # the size in bytes of each file, written last


def _whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / _LIST).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
