"""How to teach a one-step denoiser: python -m benchmarks.one_step --data DIR --held-out DIR --out DIR

What preset cpu changes about how its denoiser learns, one change after the other. Frames drawn in a single denoising
step only ever meet the first noise level of the sampler, so the preset learns near it; and pixels that change from
one frame to the next weigh more in the loss, so that small things that move count. For each seed a denoiser of the
preset's size learns each way from the same recorded steps, first weights and windows. Then all dream held-out real
actions. Reported by step are the squared error where the true frame differs from the median frame ("moving") and
elsewhere ("still"), both relative to what showing that median frame would cost. At a moving error of 1 all that moves
might as well have faded; a still error says that things are drawn where there is nothing.

Writes one_step.json, one_step.png and one_step_strip.png to --out. Record both data sets with `diffworld record`.
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

PROGRAM = "python -m benchmarks.one_step"
CHOSEN = preset("cpu").denoiser
WAYS: dict[str, dict[str, Any]] = {
    "as in the paper": {"noise_levels": NoiseLevels(), "changed_weight": 0.0},
    "near the noise level drawn with": {"noise_levels": CHOSEN.noise_levels, "changed_weight": 0.0},
    "and with weight on what changes": {
        "noise_levels": CHOSEN.noise_levels,
        "changed_weight": CHOSEN.changed_weight,
    },
}
"""What each way sets of a DenoiserConfig."""
MOVES = 20  # levels of 255 that a pixel is off the median frame, in any channel


@dataclass(frozen=True)
class Options:
    """Train one-step denoisers in three ways, and see in whose dreams moving things stay."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, to dream from."""
    out: Path
    """Folder of one_step.json and the pictures."""
    updates: int = 2_000
    """Updates of each denoiser, with preset cpu's falling learning rate."""
    seeds: int = 3
    """Denoisers of each way."""
    starts: int = 128
    """Dreams of each denoiser."""
    horizon: int = 8
    """Steps of each dream."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""


def learn(config: Config, way: str, dataset: Dataset, updates: int) -> Trainer:
    """A trainer whose denoiser learnt in that way; config.seed gives first weights and windows."""
    config = replace(
        config,
        denoiser=replace(config.denoiser, **WAYS[way]),
        denoiser_updates=replace(config.denoiser_updates, first_steps=updates),
    )
    trainer = Trainer(config, dataset.format.num_actions or 0, dataset, None)
    for _ in range(updates):
        trainer.update("denoiser")
    return trainer


def errors(film: Film, truth: Film) -> dict[str, NDArray[np.float64]]:
    """The moving and the still error of films (B, T, H, W, 3) at each step (T,); NaN where nothing moves."""
    real = truth.astype(np.float64)
    median = np.median(truth, axis=(0, 1))
    moves = (np.abs(real - median) > MOVES).any(axis=-1, keepdims=True)

    def total(shown: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(((shown - real) ** 2 * where).sum(axis=(0, 2, 3, 4)))

    reference = total(median, moves)
    return {
        name: np.divide(total(film, where), reference, out=np.full(len(reference), np.nan), where=reference > 0)
        for name, where in (("moving", moves), ("still", ~moves))
    }


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
        for way in WAYS:
            trainer = learn(replace(config, seed=seed), way, dataset, options.updates)
            film = dream(trainer, starts)
            measured = errors(film, starts.truth)
            seeds[-1][way] = {k: [None if np.isnan(e) else round(float(e), 4) for e in v] for k, v in measured.items()}
            shown.setdefault(way, film[0])
            said = "; ".join(f"{name} {' '.join(f'{e:.2f}' for e in v)}" for name, v in measured.items())
            print(f"seed {seed}, {way}: {said}", flush=True)
    record = {
        "env": dataset.format.info.get("env", "a data set"),
        "steps": {"training": dataset.num_steps, "held out": held_out.num_steps},
        "updates": options.updates,
        "dreams": len(starts.lengths),
        "machine": machine(trainer),
        "seeds": seeds,
    }
    draw(record, options.out / "one_step.png")
    draw_frames(shown, options.out / "one_step_strip.png")
    write_compact_json(options.out / "one_step.json", record)
    print(f"see {options.out / 'one_step.png'}, one_step_strip.png and one_step.json")


def dream(trainer: Trainer, starts: Starts) -> Film:
    """Its dreams of the real actions (B, T, H, W, 3), in float32."""
    return roll_out(denoiser_frames(trainer.networks.denoiser, trainer.config.sampler), starts, trainer.device)


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Both errors by step: a line for each denoiser, a colour for each way."""
    figure = new_figure(10, 4)
    for axes, error, title in zip(figure.subplots(1, 2), ("moving", "still"), ("what moves", "elsewhere"), strict=True):
        for colour, way in zip(COLOURS, WAYS, strict=False):
            for i, seed in enumerate(record["seeds"]):
                values = [np.nan if e is None else e for e in seed[way][error]]
                axes.plot(range(1, len(values) + 1), values, ".-", color=colour, label=way if i == 0 else None)
        axes.set_ylim(bottom=0)
        dress(axes, title, "step", "squared error / of the median frame where things move")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(f"{record['env']}: dreams of one denoising step, {record['updates']} updates")
    save_figure(figure, path)


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
