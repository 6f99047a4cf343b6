"""Does what comes by chance come in dreams? python -m research.chance RUN --data DIR --out FILE.json

In MinAtar's Asterix enemies and treasures come in at a random side, row and moment, and leave on the other. Dreams of
recorded actions begin in recorded games; how many of both a frame holds is counted step by step, in the games and in
dreams drawn in several ways: with more denoising steps, and begun as the published noise of 1 or as that of the first
step's noise level (`sampler.initial_noise`). `odd` is the share of frames with a cell that is like no cell of the game.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.measuring import command, write_compact_json
from diffworld.data import Dataset
from diffworld.models.sampler import SamplerConfig
from diffworld.runs import load
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, frames_from_bytes, to_numpy
from diffworld.world import WorldModel
from diffworld.world.noise import generator_noise
from research.objects import CLOSE, holding, recognise

PROGRAM = "python -m research.chance"
PLAYER, ENEMY, TRAIL, TREASURE = range(4)
CELLS = [
    (), (PLAYER,), (ENEMY,), (TRAIL,), (TREASURE,), (PLAYER, ENEMY), (PLAYER, TRAIL), (PLAYER, TREASURE),
    (ENEMY, TRAIL), (TRAIL, TREASURE),
]  # fmt: skip
"""The channels of Asterix that may share a cell."""


@dataclass(frozen=True)
class Options:
    """Count what comes by chance in games of Asterix, and in dreams of a run that learnt the published noise levels."""

    run: Positional[str]
    """The run whose dreams are counted."""
    data: Path
    """Games that it did not learn from."""
    out: Path
    """JSON to write."""
    steps: Count = 15
    """Steps of a dream."""
    starts: Count = 128
    """Dreams, from places in the games."""
    seed: int = 0
    """Of the places and of the noise."""


def ways() -> Iterator[tuple[str, SamplerConfig]]:
    """How frames are drawn, by a name to read."""
    for steps in (1, 2, 3, 5, 10):
        yield f"published start, steps {steps}", SamplerConfig(denoising_steps=steps)
    for steps in (3, 5, 10):
        yield f"scaled start, steps {steps}", SamplerConfig(denoising_steps=steps, initial_noise=5.0)


def run(options: Options) -> None:
    """Count, write, print."""
    model = load(options.run, "cpu")
    if model.spec.name != "minatar/asterix":
        raise UserError(f"{options.run} dreams of {model.spec.name}: give a run of minatar/asterix")
    world = model.require_world().first_stage.frames_alone(torch.float32)
    with Dataset.open(options.data) as data:
        films, actions = places(data, world.context_frames, options)
    record: dict[str, Any] = {"steps": options.steps, "starts": len(films), "seed": options.seed}
    record["game"] = counted(films[:, world.context_frames :])
    print(f"{'game':26} {record['game']}")
    for name, sampler in ways():
        record[name] = counted(dreamt(world.with_samplers((sampler,)), films, actions, options.seed))
        print(f"{name:26} {record[name]}", flush=True)
    write_compact_json(options.out, record)


def places(data: Dataset, context: int, options: Options) -> tuple[Film, NDArray[np.int64]]:
    """Frames (B, context + steps, H, W, 3) and actions (B, context + steps - 1), from random places in the games."""
    length, films, actions = context + options.steps, [], []
    for position, episode in enumerate(data.episodes):
        frames, acted = data.episode_frames(episode.id), data.episodes.records["action"][data.episodes.rows(position)]
        for first in range(0, len(frames) - length + 1, options.steps):
            films.append(frames[first : first + length])
            actions.append(acted[first : first + length - 1])
    if not films:
        raise UserError(f"{options.data} has no game of {length} steps: record a longer one, or take fewer --steps")
    chosen = np.random.default_rng(options.seed).permutation(len(films))[: options.starts]
    return np.stack(films)[chosen], np.stack(actions)[chosen].astype(np.int64)


@torch.no_grad()
def dreamt(world: WorldModel[Any], films: Film, actions: NDArray[np.int64], seed: int) -> Film:
    """Dreams (B, steps, H, W, 3) of those actions."""
    n, noise = world.context_frames, generator_noise(torch.Generator().manual_seed(seed))
    acts = torch.from_numpy(actions)
    state = world.start(frames_from_bytes(torch.from_numpy(films[:, :n].copy())), acts[:, :n])
    drawn = []
    for at in range(n - 1, actions.shape[1]):
        state, _ = world.step(state, acts[:, at], noise)
        drawn.append(to_numpy(state.frame))
    return np.stack(drawn, axis=1)


def counted(films: Film) -> dict[str, Any]:
    """Enemies and treasures a frame at each step; over all frames, those with one player, and those with odd cells."""
    nearest, off = recognise(films, CELLS)
    comers = np.isin(nearest, holding(CELLS, ENEMY, TREASURE)).sum((2, 3)).mean(0)
    players = np.isin(nearest, holding(CELLS, PLAYER)).sum((2, 3))
    return {
        "things": [round(float(count), 2) for count in comers],
        "one_player": round(float((players == 1).mean()), 3),
        "odd": round(float((off > CLOSE).any((2, 3)).mean()), 3),
    }


if __name__ == "__main__":
    sys.exit(command(Options, PROGRAM, run))
