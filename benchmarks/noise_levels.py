"""Noise levels for one denoising step: python -m benchmarks.noise_levels --data DIR --held-out DIR --out DIR

Which noise to learn from when frames are drawn in a single denoising step, which only meets the first noise level of
the sampler. For each seed two denoisers of preset cpu's size learn from the same recorded steps, from the same first
weights and windows: one at the paper's noise levels, one at those of the preset, near the level that it draws with.
Then both dream held-out real actions. Reported by step is the moving error: squared error where the true frame differs
from the median frame, relative to showing that median frame. At 1 all that moves might as well have faded.

Writes noise_levels.json, noise_levels.png and noise_levels_strip.png to --out. Record both data sets with
`diffworld record`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.edm_ddpm import full_starts
from benchmarks.edm_ddpm_figures import draw_frames, write_compact_json
from benchmarks.measuring import (
    COLOURS,
    check_pair,
    command,
    dress,
    machine,
    make_folder,
    new_figure,
    require_positive,
    save_figure,
)
from diffworld.config import Config
from diffworld.evaluation.fidelity.rollouts import denoiser_frames, roll_out
from diffworld.evaluation.fidelity.starts import Film, Starts, dataset_episodes
from diffworld.presets import preset
from diffworld.replay import Dataset
from diffworld.training.trainer import Trainer
from diffworld.world_model.diffusion import NoiseLevels

PROGRAM = "python -m benchmarks.noise_levels"
WAYS = {"paper": "the paper's", "near": "near the one drawn with"}
LEVELS = {"paper": NoiseLevels(), "near": preset("cpu").denoiser.noise_levels}
MOVES = 20  # levels of 255 that a pixel is off the median frame, in any channel


@dataclass(frozen=True)
class Options:
    """Train one-step denoisers at two ranges of noise levels, and see in whose dreams moving things stay."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, to dream from."""
    out: Path
    """Folder of noise_levels.json and the pictures."""
    updates: int = 2_000
    """Updates of each denoiser, with preset cpu's falling learning rate."""
    seeds: int = 3
    """Pairs of denoisers."""
    starts: int = 128
    """Dreams of each denoiser."""
    horizon: int = 8
    """Steps of each dream."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""


def learn(config: Config, way: str, dataset: Dataset, updates: int) -> Trainer:
    """A trainer whose denoiser learnt at the noise levels of `way`; config.seed gives first weights and windows."""
    config = replace(
        config,
        denoiser=replace(config.denoiser, noise_levels=LEVELS[way]),
        denoiser_updates=replace(config.denoiser_updates, first_steps=updates),
    )
    trainer = Trainer(config, dataset.format.num_actions or 0, dataset, None)
    for _ in range(updates):
        trainer.update("denoiser")
    return trainer


def moving_error(film: Film, truth: Film) -> NDArray[np.float64]:
    """The moving error of films (B, T, H, W, 3) at each step (T,); NaN where nothing moves."""
    real = truth.astype(np.float64)
    still = np.median(truth, axis=(0, 1))
    moves = (np.abs(real - still) > MOVES).any(axis=-1, keepdims=True)
    error, reference = (((shown - real) ** 2 * moves).sum(axis=(0, 2, 3, 4)) for shown in (film, still))
    return np.divide(error, reference, out=np.full(len(error), np.nan), where=reference > 0)


def run(options: Options) -> None:
    """Train all, dream, measure, draw; UserError for data or options that do not go together."""
    require_positive(options, "updates", "seeds", "starts", "horizon")
    with Dataset.open(options.data) as dataset, Dataset.open(options.held_out) as held_out:
        check_pair(options.data, options.held_out, dataset, held_out)
        make_folder(options.out)
        report(preset("cpu"), dataset, held_out, options)


def report(config: Config, dataset: Dataset, held_out: Dataset, options: Options) -> None:
    """The same with networks of `config`."""
    height, width, _ = dataset.format.frame_shape
    config = replace(config, environment=replace(config.environment, height=height, width=width), device=options.device)
    n, rng = config.denoiser.context_frames, np.random.default_rng(0)
    starts = full_starts(dataset_episodes(held_out), options.starts, n, options.horizon, rng)
    seeds: list[dict[str, list[float | None]]] = []
    shown = {"real game": starts.truth[0]}
    for seed in range(options.seeds):
        seeds.append({})
        for way, name in WAYS.items():
            trainer = learn(replace(config, seed=seed), way, dataset, options.updates)
            film = dream(trainer, starts)
            errors = moving_error(film, starts.truth)
            seeds[-1][way] = [None if np.isnan(e) else round(float(e), 4) for e in errors]
            shown.setdefault(name, film[0])
            print(f"seed {seed}, noise levels {name}: {' '.join(f'{e:.2f}' for e in errors)}", flush=True)
    record = {
        "env": dataset.format.info.get("env", "a data set"),
        "steps": {"training": dataset.num_steps, "held out": held_out.num_steps},
        "updates": options.updates,
        "dreams": len(starts.lengths),
        "machine": machine(trainer),
        "seeds": seeds,
    }
    draw(record, options.out / "noise_levels.png")
    draw_frames(shown, options.out / "noise_levels_strip.png")
    write_compact_json(options.out / "noise_levels.json", record)
    print(f"see {options.out / 'noise_levels.png'}, noise_levels_strip.png and noise_levels.json")


def dream(trainer: Trainer, starts: Starts) -> Film:
    """Its dreams of the real actions (B, T, H, W, 3), in float32."""
    return roll_out(denoiser_frames(trainer.networks.denoiser, trainer.config.sampler), starts, trainer.device)


def draw(record: Mapping[str, Any], path: Path) -> None:
    """The moving error by step: a line for each denoiser, a colour for each range of noise levels."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for colour, (way, name) in zip(COLOURS, WAYS.items(), strict=False):
        for i, seed in enumerate(record["seeds"]):
            values = [np.nan if e is None else e for e in seed[way]]
            label = f"noise levels {name}" if i == 0 else None
            axes.plot(range(1, len(values) + 1), values, ".-", color=colour, label=label)
    axes.axhline(1, color="#777777", linestyle=":", label="the median frame")
    axes.set_ylim(bottom=0)
    dress(axes, f"{record['env']}: what moves, in dreams of one denoising step", "step", "moving error")
    axes.legend(frameon=False)
    save_figure(figure, path)


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
