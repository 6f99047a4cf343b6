"""Noise for one denoising step: python -m benchmarks.noise_levels --data DIR --held-out DIR --out DIR

From which noise to draw frames in a single denoising step, and which noise to learn from for that: a single step
only meets the sampler's first noise level. For each seed three denoisers of preset cpu's size learn from the same
recorded steps, from the same first weights and windows: at the paper's noise levels and near its first level, 5, both
drawing from 5; and as the preset has it, from a level at which nothing of a frame shows through. Then all dream
held-out real actions. Reported by step are two errors, both relative to showing the median frame: the squared error
where the true frame differs from that frame (at 1 all that moves might as well have faded), and the error elsewhere
(what is drawn where nothing is).

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
MOVES = 20  # levels of 255 that a pixel is off the median frame, in any channel
ERRORS = {"moving": "where something moves", "elsewhere": "elsewhere"}


@dataclass(frozen=True)
class Way:
    """Noise levels to learn from, and the first level to draw from."""

    name: str
    levels: NoiseLevels
    sigma_max: float


WAYS = {
    "paper": Way("the paper's, drawn from 5", NoiseLevels(), 5.0),
    "near": Way("around 5, drawn from 5", NoiseLevels(mean=1.6, std=0.4), 5.0),
    "preset": Way("around 80, drawn from 80", preset("cpu").denoiser.noise_levels, preset("cpu").sampler.sigma_max),
}


@dataclass(frozen=True)
class Options:
    """Train one-step denoisers at three ranges of noise levels, and see whose dreams hold."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, to dream from."""
    out: Path
    """Folder of noise_levels.json and the pictures."""
    updates: int = 2_000
    """Updates of each denoiser, with preset cpu's falling learning rate."""
    seeds: int = 3
    """Sets of three denoisers."""
    starts: int = 128
    """Dreams of each denoiser."""
    horizon: int = 8
    """Steps of each dream."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""


def learn(config: Config, way: Way, dataset: Dataset, updates: int) -> Trainer:
    """A trainer whose denoiser learnt in that way; config.seed gives first weights and windows."""
    config = replace(
        config,
        denoiser=replace(config.denoiser, noise_levels=way.levels),
        sampler=replace(config.sampler, sigma_max=way.sigma_max),
        denoiser_updates=replace(config.denoiser_updates, first_steps=updates),
    )
    trainer = Trainer(config, dataset.format.num_actions or 0, dataset, None)
    for _ in range(updates):
        trainer.update("denoiser")
    return trainer


def dream_errors(film: Film, truth: Film) -> dict[str, NDArray[np.float64]]:
    """Both errors of films (B, T, H, W, 3) at each step (T,); NaN where nothing moves."""
    real = truth.astype(np.float64)
    still = np.median(truth, axis=(0, 1))
    moves = (np.abs(real - still) > MOVES).any(axis=-1, keepdims=True)

    def total(shown: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(((shown - real) ** 2 * where).sum(axis=(0, 2, 3, 4)))

    reference = total(still, moves)
    reference[reference == 0] = np.nan
    return {"moving": total(film, moves) / reference, "elsewhere": total(film, ~moves) / reference}


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
    seeds: list[dict[str, dict[str, list[float | None]]]] = []
    shown = {"real game": starts.truth[0]}
    for seed in range(options.seeds):
        seeds.append({})
        for key, way in WAYS.items():
            trainer = learn(replace(config, seed=seed), way, dataset, options.updates)
            film = dream(trainer, starts)
            errors = dream_errors(film, starts.truth)
            seeds[-1][key] = {
                kind: [None if np.isnan(e) else round(float(e), 4) for e in errors[kind]] for kind in ERRORS
            }
            shown.setdefault(way.name, film[0])
            for kind, text in ERRORS.items():
                print(f"seed {seed}, {way.name}: error {text} {' '.join(f'{e:.2f}' for e in errors[kind])}", flush=True)
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
    """Both errors by step: a line for each denoiser, a colour for each way."""
    figure = new_figure(11, 4)
    for axes, (kind, text) in zip(figure.subplots(1, 2), ERRORS.items(), strict=True):
        for colour, (key, way) in zip(COLOURS, WAYS.items(), strict=False):
            for i, seed in enumerate(record["seeds"]):
                values = [np.nan if e is None else e for e in seed[key][kind]]
                axes.plot(range(1, len(values) + 1), values, ".-", color=colour, label=way.name if i == 0 else None)
        axes.axhline(1, color="#777777", linestyle=":", label="all that moves is gone")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        dress(axes, f"{record['env']}: error {text}, one denoising step", "step", "relative squared error")
    axes.legend(frameon=False)
    save_figure(figure, path)


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
