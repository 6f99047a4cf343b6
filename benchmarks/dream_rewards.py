"""Where rewards of dreams come from: python -m benchmarks.dream_rewards --data DIR --held-out DIR --out DIR

What `--rewarded-share` and `--reward-end-drawn-share` are for. For each seed a denoiser of preset cpu's size learns
from a recorded data set. Then three reward/end models learn, equally long: from windows drawn as played; with half of
them about a rewarded step; and with half of them drawn by the denoiser besides, in the last updates. On held-out
windows each tells where rewards are: in true frames, and in a dream of the same real actions. Reported are its mean
probability of a reward at rewarded steps and at others, and the probability that it gives a rewarded step more than
another (area under the ROC curve; 0.5 is chance).

Writes dream_rewards.json and dream_rewards.png to --out. Record the two data sets with `diffworld record`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.edm_ddpm_figures import write_compact_json
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
from diffworld.device import autocast
from diffworld.files import without_nan
from diffworld.presets import preset
from diffworld.replay import Dataset, sample_around
from diffworld.training.trainer import Trainer
from diffworld.world_model.batches import Batch, to_batch
from diffworld.world_model.imagination import Imagination

PROGRAM = "python -m benchmarks.dream_rewards"
WAYS = {"played": "windows as played", "rewarded": "half about rewards", "drawn": "half about rewards, half drawn"}
SHARES = {"played": (0.0, 0.0), "rewarded": (0.5, 0.0), "drawn": (0.5, 0.5)}
SHOWN = {"true": "judging true frames", "dream": "judging a dream"}
ROWS = 64


@dataclass(frozen=True)
class Options:
    """Train reward/end models from three kinds of windows; see which finds the rewards of dreams."""

    data: Path
    """Data set to train on."""
    held_out: Path
    """Data set of other episodes, to judge on."""
    out: Path
    """Folder of dream_rewards.json and dream_rewards.png."""
    denoiser_updates: int = 3_000
    """Updates of each denoiser."""
    updates: int = 1_200
    """Updates of each reward/end model from true frames ..."""
    further: int = 300
    """... and then from drawn ones too, in the way that has them."""
    seeds: int = 3
    """Denoisers, each with weights, windows and noise of its own."""
    windows: int = 512
    """Held-out windows."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class Judged:
    """Probability of a reward, and whether there was one, at every valid step."""

    probability: NDArray[np.float32]
    rewarded: NDArray[np.bool_]

    def scores(self) -> dict[str, float]:
        """Means at rewarded and at other steps, and the area under the ROC curve."""
        return {
            "at_rewards": float(self.probability[self.rewarded].mean()),
            "elsewhere": float(self.probability[~self.rewarded].mean()),
            "roc_area": roc_area(self.probability, self.rewarded),
        }


def roc_area(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN without both."""
    ordered = np.sort(score[~positive])
    below, up_to = (np.searchsorted(ordered, score[positive], side) for side in ("left", "right"))  # type: ignore[call-overload]
    return float((below + up_to).mean() / 2 / len(ordered)) if len(ordered) and positive.any() else float("nan")


def learn(config: Config, dataset: Dataset, options: Options) -> dict[str, Trainer]:
    """The three ways of a seed: a trainer each, with the same denoiser."""
    config = replace(
        config,  # the first epoch is what the options say: it decides the learning rate, and when drawn frames come in
        denoiser_updates=replace(config.denoiser_updates, first_steps=options.denoiser_updates),
        reward_end_updates=replace(config.reward_end_updates, first_steps=options.updates),
    )
    trainers = {}
    for way, (rewarded, drawn) in SHARES.items():
        own = replace(config, rewarded_share=rewarded, reward_end_drawn_share=drawn)
        trainers[way] = Trainer(own, dataset.format.num_actions or 0, dataset, None)
    first = trainers["played"]
    for _ in range(options.denoiser_updates):
        first.update("denoiser")
    for trainer in trainers.values():
        trainer.networks.load(first.networks.tensors(), ("denoiser",))
        trainer.rng = np.random.default_rng(config.seed + 1)
        for _ in range(options.updates + options.further):
            trainer.update("reward_end")
    return trainers


@torch.no_grad()
def judge(trainer: Trainer, held_out: Dataset, windows: int) -> dict[str, Judged]:
    """What a trainer's reward model says of true frames and of dreams of the same actions."""
    c, rng, found = trainer.config, np.random.default_rng(0), dict[str, list[tuple[Tensor, Tensor]]]()
    torch.manual_seed(0)
    n = c.denoiser.context_frames
    for _ in range(max(1, windows // ROWS)):
        drawn = sample_around(held_out, rng, ROWS, n + c.reward_end_window, recency=False)
        batch = to_batch(drawn, trainer.device)
        valid = batch.successor[:, n - 1 : -1] & batch.mask[:, : n - 1].all(dim=1, keepdim=True)
        rewarded = (batch.rewards[:, n - 1 : -1] != 0)[valid]
        with autocast(trainer.device, trainer.dtype):
            said = {"true": on_true_frames(trainer, batch), "dream": in_dream(trainer, batch)}
        for name, logits in said.items():
            probability = 1 - logits.float().softmax(-1)[..., 1]
            found.setdefault(name, []).append((probability[valid], rewarded))
    return {
        name: Judged(*(torch.cat(parts).cpu().numpy() for parts in zip(*pairs, strict=True)))  # type: ignore[arg-type]
        for name, pairs in found.items()
    }


def on_true_frames(trainer: Trainer, batch: Batch) -> Tensor:
    """Reward logits (B, L - n, 3) of each step from the last context frame on."""
    model, frames = trainer.networks.reward_end, batch.frames
    state = model.zero_state(len(frames))
    logits, _, _ = model(frames[:, :-1], batch.actions[:, :-1], frames[:, 1:], state)
    return logits[:, trainer.config.denoiser.context_frames - 1 :]


def in_dream(trainer: Trainer, batch: Batch) -> Tensor:
    """The same when only the context is real, and the rest is dreamt with the real actions."""
    n, networks = trainer.config.denoiser.context_frames, trainer.networks
    frames, actions = batch.frames, batch.actions
    dream = Imagination(
        networks.denoiser,
        networks.reward_end,
        trainer.config.sampler,
        frames.shape[1],
        lambda _: (frames[:, :n], actions[:, :n]),
        trainer.randn,
    )
    state, logits = dream.start(len(frames)), []
    for t in range(n - 1, frames.shape[1] - 1):
        _, said, _, state = dream.predict(state, actions[:, t])
        logits.append(said)
    return torch.stack(logits, dim=1)


def draw(record: Mapping[str, Any], path: Path) -> None:
    """A panel for the ROC area and one for the probability at rewarded steps; a dot a seed, a bar for their mean."""
    figure = new_figure(10, 3.6)
    panels = (
        ("roc_area", "Rewarded steps told from others", "area under the ROC curve"),
        ("at_rewards", "At rewarded steps", "probability given to a reward"),
    )
    for axes, (score, title, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for i, (way, name) in enumerate(WAYS.items()):
            for j, shown in enumerate(SHOWN):
                values = [seed[way][shown][score] for seed in record["seeds"]]
                x = j + 0.27 * (i - 1)
                axes.bar(x, np.mean(values), 0.25, color=COLOURS[i], alpha=0.75, label=name if j == 0 else None)
                axes.plot([x] * len(values), values, ".", color="#333333", markersize=5)
        axes.set_xticks(range(len(SHOWN)), list(SHOWN.values()))
        axes.set_ylim(0, 1)
        dress(axes, title, "", label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)


def run(options: Options) -> None:
    """Train all, judge, draw; UserError for data or options that do not go together."""
    require_positive(options, "denoiser_updates", "updates", "further", "seeds", "windows")
    with Dataset.open(options.data) as dataset, Dataset.open(options.held_out) as held_out:
        check_pair(options.data, options.held_out, dataset, held_out)
        make_folder(options.out)
        report(preset("cpu"), dataset, held_out, options)


def report(config: Config, dataset: Dataset, held_out: Dataset, options: Options) -> None:
    """The same with networks of `config`."""
    height, width, _ = dataset.format.frame_shape
    environment = replace(config.environment, height=height, width=width)
    config = replace(config, environment=environment, device=options.device)
    seeds = []
    for seed in range(options.seeds):
        trainers = learn(replace(config, seed=seed), dataset, options)
        judged = {way: judge(trainer, held_out, options.windows) for way, trainer in trainers.items()}
        seeds.append({way: {shown: of.scores() for shown, of in both.items()} for way, both in judged.items()})
        for way, both in seeds[-1].items():
            text = "; ".join(
                f"{SHOWN[shown]}: area {of['roc_area']:.3f}, "
                f"{of['at_rewards']:.3f} at rewards, {of['elsewhere']:.3f} elsewhere"
                for shown, of in both.items()
            )
            print(f"seed {seed}, {WAYS[way]}: {text}", flush=True)
    record = {
        "env": dataset.format.info.get("env", "a data set"),
        "steps": {"training": dataset.num_steps, "held out": held_out.num_steps},
        **{name: getattr(options, name) for name in ("denoiser_updates", "updates", "further", "windows")},
        "machine": machine(trainers["played"]),
        "seeds": seeds,
    }
    draw(record, options.out / "dream_rewards.png")
    write_compact_json(options.out / "dream_rewards.json", without_nan(record))
    print(f"see {options.out / 'dream_rewards.png'} and dream_rewards.json")


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
