"""Does training in bfloat16 learn as well? python -m research.precision --data DIR --held-out DIR --out DIR

The denoiser and the reward/end model of preset world-small learn from a recorded data set in float32 and in bfloat16:
from the same first weights, on the same windows in the same order, with the same noise, once for each seed. At the end
their losses on held-out windows are measured in float32 arithmetic, so that only what was learnt differs.

Writes precision.json and precision.png to --out. Record the two data sets with `diffworld record`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import (
    COLOURS,
    check_pair,
    command,
    dress,
    machine,
    make_folder,
    new_figure,
    save_figure,
    write_compact_json,
)
from diffworld.config import Config, NetworkName, preset
from diffworld.data import Dataset
from diffworld.evaluation.held_out import BATCH, BATCHES, HeldOutWindows
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import without_nan
from diffworld.training.run import make_trainer
from diffworld.training.trainer import Averages, Trainer

PROGRAM = "python -m research.precision"
NumberFormat = Literal["float32", "bfloat16"]
FORMATS: tuple[NumberFormat, NumberFormat] = ("float32", "bfloat16")
LEARNT: tuple[NetworkName, NetworkName] = ("denoiser", "reward_end")
HELD_OUT = {"denoiser": "denoiser/held_out_loss", "reward_end": "reward_end/held_out_loss"}
WINDOW = 6
"""Steps of a reward/end window beyond its context frames: short, so that it runs on a CPU."""
NAMES = {"denoiser": "denoiser", "reward_end": "reward/end model"}


@dataclass(frozen=True)
class Options:
    """Train small networks in float32 and in bfloat16 on the same windows, and compare what they learnt."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, to measure the losses on at the end."""
    out: Path
    """Folder of precision.json and precision.png."""
    updates: Count = 300
    """Updates of each network."""
    seeds: Count = 3
    """Trainings in each format, each with weights, windows and noise of its own."""
    every: Count = 20
    """Updates that a point of a curve is the mean of."""
    batch: Count = 4
    """Windows of an update."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class Learnt:
    """One training: means of the loss over every so many updates, and held-out losses."""

    curves: dict[str, list[float]]
    held_out: dict[str, float]


def learn(config: Config, dataset: Dataset, held_out: Dataset, options: Options) -> Learnt:
    """Train both networks of `config`, whose seed decides everything random."""
    trainer = make_trainer(config, dataset.spec, dataset, None)
    curves = {
        part: [mean_loss(trainer, part, options.every) for _ in range(options.updates // options.every)]
        for part in LEARNT
    }
    losses = HeldOutWindows(held_out, config.reward_end.window).losses(trainer.recipe.world)
    return Learnt(curves, {part: losses[HELD_OUT[part]] for part in LEARNT})


def mean_loss(trainer: Trainer, part: NetworkName, updates: int) -> float:
    """Mean loss of the next updates; UserError once it is no number."""
    trainer.averages = Averages()
    for _ in range(updates):
        trainer.update(part)
    return trainer.averages.means()[f"{part}/loss"]


def compare(runs: Mapping[NumberFormat, list[Learnt]], part: NetworkName) -> dict[str, Any]:
    """Held-out losses by format and seed, their means, and bfloat16's difference beside the spread over seeds.

    The difference is that of a seed with itself, its mean and standard error; the spread is float32's standard
    deviation over seeds.
    """
    loss = {name: np.array([run.held_out[part] for run in of]) for name, of in runs.items()}
    difference = loss["bfloat16"] - loss["float32"]
    several = len(difference) > 1
    return {
        "held_out_loss": {name: _rounded(values) for name, values in loss.items()},
        "mean": {name: float(values.mean()) for name, values in loss.items()},
        "difference": float(difference.mean()),
        "difference_standard_error": float(difference.std(ddof=1) / len(difference) ** 0.5) if several else None,
        "spread_over_seeds": float(loss["float32"].std(ddof=1)) if several else None,
        "curves": {name: [_rounded(run.curves[part]) for run in of] for name, of in runs.items()},
    }


def sentence(part: NetworkName, found: Mapping[str, Any]) -> str:
    """What came out, in one line."""
    mean, relative = found["mean"], found["difference"] / found["mean"]["float32"]
    text = (
        f"{NAMES[part]}: held-out loss float32 {mean['float32']:.4g}, bfloat16 {mean['bfloat16']:.4g} ({relative:+.1%})"
    )
    if found["spread_over_seeds"] is None:
        return text
    return (
        f"{text}; difference {found['difference']:+.2g} ± {found['difference_standard_error']:.2g} (standard error), "
        f"spread over seeds {found['spread_over_seeds']:.2g}"
    )


def draw_curves(record: Mapping[str, Any], path: Path) -> None:
    """A panel a network: mean over seeds and their range, for both formats, PNG."""
    figure = new_figure(11, 4.2)
    for axes, part in zip(figure.subplots(1, 2), LEARNT, strict=True):
        found = record["parts"][part]
        for name, colour, dash in zip(FORMATS, COLOURS, ("-", "--"), strict=False):
            curves = np.array(found["curves"][name])
            updates = (np.arange(curves.shape[1]) + 0.5) * record["every"]
            label = f"{name}: {found['mean'][name]:.4g} held out"
            axes.plot(updates, curves.mean(0), dash, color=colour, label=label, linewidth=1.8)
            axes.fill_between(updates, curves.min(0), curves.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.set_yscale("log")
        title = NAMES[part][0].upper() + NAMES[part][1:]
        dress(axes, title, "update", f"training loss, mean of {record['every']} updates")
        axes.legend(frameon=False, fontsize=10)
    seeds = record["seeds"]
    figure.suptitle(
        f"Training in float32 and in bfloat16 on {record['env']}: mean and range of {seeds} seeds", fontsize=12
    )
    save_figure(figure, path)


def run(options: Options) -> None:
    """Train all, compare, draw; UserError for data or options that do not go together."""
    if options.updates % options.every:
        raise UserError(f"--updates {options.updates} is no multiple of --every {options.every}")
    with Dataset.open(options.data) as dataset, Dataset.open(options.held_out) as held_out:
        config = small(dataset, held_out, options)
        make_folder(options.out)
        runs: dict[NumberFormat, list[Learnt]] = {name: [] for name in FORMATS}
        for seed in range(options.seeds):
            for name in FORMATS:  # in turn, so that a slow spell of the machine hits both
                learnt = learn(replace(config, seed=seed, precision=name), dataset, held_out, options)
                runs[name].append(learnt)
                shown = ", ".join(f"{NAMES[part]} {learnt.held_out[part]:.4g}" for part in LEARNT)
                print(f"seed {seed}, {name}: held out {shown}", flush=True)
        record = {
            "env": dataset.spec.name or "a data set",
            "steps": {"training": dataset.num_steps, "held out": held_out.num_steps},
            **{name: getattr(options, name) for name in ("updates", "seeds", "every", "batch")},
            "windows": BATCH * BATCHES,
            "machine": machine(replace(config, precision="bfloat16")),
            "parts": {part: compare(runs, part) for part in LEARNT},
        }
    draw_curves(record, options.out / "precision.png")
    write_compact_json(options.out / "precision.json", without_nan(record))
    for part in LEARNT:
        print(sentence(part, record["parts"][part]))
    print(f"see {options.out / 'precision.png'} and precision.json")


def small(dataset: Dataset, held_out: Dataset, options: Options) -> Config:
    """Preset world-small's networks; UserError where the two data sets do not go together."""
    check_pair(dataset, held_out)
    config = preset("world-small", dataset.spec.frame_size)
    updates: dict[str, Any] = {
        f"{part}_updates": replace(config.updates(part), batch_size=options.batch) for part in LEARNT
    }
    return replace(
        config,
        recipe="world",
        networks=LEARNT,
        device=options.device,
        compile="off",
        reward_end=replace(config.reward_end, window=WINDOW),
        **updates,
    )


def _rounded(numbers: list[float] | NDArray[np.float64]) -> list[float]:
    """Six significant digits."""
    return [float(f"{number:.6g}") for number in numbers]


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
