"""Are the objects still there? python -m research.objects [MODEL] [--starts 64] [--steps 200]

Dreams of MinAtar Breakout in which the agent acts, from places in real games. A frame is whole if it has one paddle and
one ball, and every cell is close to a colour of the game. A dream that ends is over, as a game is. Beside it the share
of whole frames in real games.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.envs.driver import GameStep, play_episodes
from diffworld.envs.make import make_game
from diffworld.envs.minatar import COLOURS
from diffworld.runs import Model, load
from diffworld.runtime.frames import frames_from_bytes
from diffworld.world.noise import generator_noise

PADDLE, BALL, TRAIL, BRICK = range(4)
CELLS = [(), (PADDLE,), (BALL,), (TRAIL,), (BRICK,), (BALL, TRAIL), (BALL, BRICK), (TRAIL, BRICK), (BALL, TRAIL, BRICK)]
"""The channels of Breakout that may share a cell."""
CLOSE = 60
"""Levels of 255, of the channel that is farthest off."""


def colours(cells: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
    """RGB (C, 3) of cells in which those channels are."""
    return np.stack([COLOURS[[1 + channel for channel in cell] or [0]].mean(axis=0) for cell in cells])


def recognise(
    frames: NDArray[np.uint8], cells: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which of `cells` each pixel of frames (..., 3) is most like, and how many levels it is off."""
    apart = np.abs(frames[..., None, :] - colours(cells)).max(-1)
    return apart.argmin(-1), apart.min(-1)


def holding(cells: Sequence[tuple[int, ...]], *things: int) -> list[int]:
    """The numbers of the cells in which any of those channels is."""
    return [number for number, cell in enumerate(cells) if set(things) & set(cell)]


def whole(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(B,) of frames of Breakout (B, 10, 10, 3)."""
    nearest, off = recognise(frames, CELLS)
    one = [np.isin(nearest, holding(CELLS, thing)).sum((1, 2)) == 1 for thing in (PADDLE, BALL)]
    return (off <= CLOSE).all((1, 2)) & one[0] & one[1]


@torch.no_grad()
def dreams(model: Model, starts: int, steps: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each dream goes on, and whether its frame is whole (steps, B)."""
    world, agent = model.require_world(), model.require_policy()
    windows = model.starts.windows()
    chosen = [windows[i] for i in np.random.default_rng(seed).choice(len(windows), starts, len(windows) < starts)]
    frames = frames_from_bytes(torch.from_numpy(np.stack([window.frames for window in chosen])))
    state = world.start(frames, torch.from_numpy(np.stack([window.actions for window in chosen])))
    memory, generator = agent.burn_in(frames[:, :-1]), torch.Generator().manual_seed(seed)
    alive, rows = torch.ones(starts, dtype=torch.bool), []
    for _ in range(steps):
        logits, _, memory = agent(state.frame, memory)
        actions = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
        state, prediction = world.step(state, actions, generator_noise(generator))
        assert prediction.end_logits is not None
        alive = alive & (prediction.end_logits.argmax(-1) == 0)
        seen = ((state.frame + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        rows.append((alive.numpy().copy(), whole(seen.numpy())))
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def real(model: Model, games: int) -> float:
    """Share of whole frames in real games of the agent."""
    seen: list[NDArray[np.uint8]] = []

    def look(step: GameStep) -> None:
        seen.append(step.frame)

    with closing(make_game(model.spec, games)) as env:
        play_episodes(env, model.player(games, seed=0), list(range(games)), on_step=look)
    return float(whole(np.stack(seen)).mean())


def main() -> None:
    """Print the shares as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo/breakout")
    parser.add_argument("--starts", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load(options.model, "cpu")
    if model.spec.name != "minatar/breakout":
        parser.error(f"{options.model} dreams of {model.spec.name}: give a run of minatar/breakout")
    alive, good = dreams(model, options.starts, options.steps, options.seed)
    for step in (1, 10, 25, 50, 100, 200):
        if step <= options.steps:
            going, fine = int(alive[step - 1].sum()), int((alive & good)[step - 1].sum())
            print(json.dumps({"step": step, "dreams_going_on": going, "whole": fine}))
    print(json.dumps({"real_frames_whole": round(real(model, 20), 3)}))


if __name__ == "__main__":
    main()
