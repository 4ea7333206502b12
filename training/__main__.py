"""`python -m training --out FOLDER`: from nothing to a tiny Mochi in FOLDER/tiny-mochi, ready for MODEL_DIR.

Stopped at any moment, the same command goes on where its last checkpoint was. On two cores that do nothing
else OMP_WAIT_POLICY=ACTIVE makes a step a quarter quicker, and MALLOC_TOP_PAD_=268435456 saves page faults.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch

from training.assemble import pipeline_of, show, write_model
from training.denoiser import DenoiserTask
from training.latents import Cache, fill_cache
from training.loop import Budget, averaged, keep_to, log, train
from training.vae import VaeTask

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Train the VAE, make the cache, train the transformer, and write the model."""
    options = _options(arguments)
    # Mochi asks for float32 inside an autocast; a CPU's has only the short types, and says so each time.
    warnings.filterwarnings("ignore", "In CPU autocast", UserWarning)
    torch.set_num_threads(options.threads)
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # The clips of the cache are drawn again at each start, and have to be those of its latents.
        keep_to(folder, seed=options.seed, clips=options.clips)
    except ValueError as error:
        raise SystemExit(str(error)) from None

    rest = (options.save_seconds, not options.no_samples)
    vae_task = VaeTask(options.seed)
    train(vae_task, folder, Budget(options.vae_minutes, options.vae_steps, *rest), options.seed)
    averaged(vae_task, folder)
    vae = vae_task.module.eval().requires_grad_(False)
    fill_cache(vae, folder, options.clips, options.seed)
    cache = Cache(folder, options.clips, options.seed)

    def shown(module: Any, path: Path) -> str:  # noqa: ANN401  # the parts have no types
        return show(pipeline_of(module, vae, cache), path)

    task = DenoiserTask(cache, options.seed, shown)
    train(task, folder, Budget(options.denoiser_minutes, options.denoiser_steps, *rest), options.seed)
    averaged(task, folder)
    made = folder / "tiny-mochi"  # what a folder is called chooses the limits and defaults of its model
    write_model(pipeline_of(task.module, vae, cache), made)
    log(folder, f"the model is in {made}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, cache, samples, log and model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vae-minutes", type=float, default=28, help="for its training")
    parser.add_argument("--denoiser-minutes", type=float, default=140, help="likewise, for the transformer's")
    parser.add_argument("--vae-steps", type=int, help="in place of minutes")
    parser.add_argument("--denoiser-steps", type=int, help="in place of minutes")
    parser.add_argument("--clips", type=int, default=4000, help="in the cache")
    parser.add_argument("--save-seconds", type=float, default=60, help="between checkpoints")
    parser.add_argument("--no-samples", action="store_true", help="write no strips of frames")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
