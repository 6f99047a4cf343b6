"""How well the world model predicts windows it never trained on."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.data import (
    Dataset,
    EpisodeWriter,
    GameStep,
    Windows,
    frame_batch,
    sample_context_windows,
    sample_transition_windows,
    transition_batch,
)
from diffworld.game import GameSpec
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.ranks import Ranks
from diffworld.world import Lesson, WorldModel
from diffworld.world.noise import generator_noise

BATCH, BATCHES = 32, 4
"""Held-out losses are means over so many windows at once, so many times."""
STEPS = 4_000
"""Steps of test games that are kept, at most."""


class TestRecorder:
    """An `on_step` that keeps the first `STEPS` steps of test games in the order of the games' numbers, whatever is
    played beside what."""

    __test__ = False  # for pytest, which collects what is called so

    def __init__(self) -> None:
        self.kept: dict[int, list[GameStep]] = {}
        """Steps by the game's number."""
        self.count = 0
        self.beyond = math.inf
        """Number of the first game that there is no room for in full."""

    def __call__(self, step: GameStep) -> None:
        """Keep a step; where there is no room, the last one in that order goes."""
        if step.game >= self.beyond:
            return
        seen = step.next_frame.copy() if step.ended else step.frame[:0]  # else it is the next step's own
        self.kept.setdefault(step.game, []).append(replace(step, frame=step.frame.copy(), next_frame=seen))
        self.count += 1
        if self.count > STEPS:
            self.beyond = last = max(self.kept)
            self.kept[last].pop()
            self.count -= 1
            if not self.kept[last]:
                del self.kept[last]

    def gathered(self, ranks: Ranks) -> list[GameStep]:
        """In rank 0 the first `STEPS` steps of the games of all ranks, game by game; elsewhere nothing."""
        lengths, room, found = dict[int, int](), STEPS, dict[int, list[GameStep]]()
        for each in ranks.all({game: len(steps) for game, steps in self.kept.items()}):
            lengths |= each
        for game in sorted(lengths):
            lengths[game] = min(lengths[game], room)
            room -= lengths[game]
        for steps in ranks.gather({game: steps[: lengths[game]] for game, steps in self.kept.items()}):
            found |= steps
        return [step for game in sorted(found) for step in found[game]]


def record(path: Path, spec: GameSpec, steps: Iterable[GameStep]) -> Dataset:
    """A data set of those steps in `path`, anew."""
    shutil.rmtree(path, ignore_errors=True)
    dataset = Dataset.create(path, spec)
    writer = EpisodeWriter(dataset)
    for step in steps:
        writer(step)
    return dataset


@dataclass(frozen=True)
class HeldOutWindows:
    """Windows of data that were not learnt from."""

    dataset: Dataset
    reward_end_window: int
    among: NDArray[np.bool_] | None = None
    """bool (E,), the episodes that count; all if None."""

    @torch.no_grad()
    def losses(self, world: WorldModel[Any]) -> dict[str, float]:
        """Losses, and precision, recall and F1 of reward and end; none where there is nothing held out.

        Noise and windows are the same at every call on the same data, so that losses can be compared.
        """
        if not len(self.dataset.episodes) or (self.among is not None and not self.among.any()):
            return {}
        lessons, device = world.lessons, world.device
        found = {f"{name}/held_out_loss": self._denoiser_loss(lesson, device) for name, lesson in lessons.items()}
        if world.reward_end is not None:
            length = world.context_frames + self.reward_end_window
            found |= self._reward_end_losses(world.reward_end, world.seen, length, device)
        return found

    def _denoiser_loss(self, lesson: Lesson, device: torch.device) -> float:
        """The loss on windows as a denoiser trains on them."""
        noise = generator_noise(torch.Generator(device).manual_seed(0))
        draw = partial(sample_context_windows, final_frames=lesson.denoiser.config.final_frames)
        batches = (frame_batch(windows, device) for windows in self._windows(draw, lesson.length))
        return sum(lesson.loss(*batch, noise).item() for batch in batches) / BATCHES

    def _reward_end_losses(
        self, model: RewardEndModel, seen: Callable[[Tensor], Tensor], length: int, device: torch.device
    ) -> dict[str, float]:
        """The losses, and what the model said against what was."""
        sums: dict[str, float] = {}
        counts = {"reward": np.zeros(3), "end": np.zeros(3)}
        for windows in self._windows(sample_transition_windows, length):
            batch = transition_batch(windows, device)
            losses = model.loss(*batch._replace(frames=seen(batch.frames)))
            for name, value in (("", losses.total), ("_reward", losses.reward), ("_end", losses.end)):
                key = f"reward_end/held_out_loss{name}"
                sums[key] = sums.get(key, 0.0) + value.item() / BATCHES
            mask, signs = batch.mask[:, :-1], batch.rewards[:, :-1].sign()
            counts["reward"] += _hits(losses.reward_logits.argmax(-1) - 1, signs, mask)
            counts["end"] += _hits(losses.end_logits.argmax(-1), batch.ends[:, :-1], mask)
        for name, (right, said, true) in counts.items():
            sums[f"reward_end/{name}_precision"] = right / max(said, 1)
            sums[f"reward_end/{name}_recall"] = right / max(true, 1)
            sums[f"reward_end/{name}_f1"] = 2 * right / max(said + true, 1)
        return sums

    def _windows(self, draw: Callable[..., Windows], length: int) -> Iterator[Windows]:
        rng = np.random.default_rng(0)
        for _ in range(BATCHES):
            yield draw(self.dataset, rng, BATCH, length, recency=False, among=self.among)


def _hits(predicted: Tensor, true: Tensor, mask: Tensor) -> np.ndarray:
    """Non-zero predictions that are right, all non-zero predictions, all non-zero truths."""
    said, real = (predicted != 0) & mask, (true != 0) & mask
    right = said & real & (predicted == true)
    return np.array([right.sum().item(), said.sum().item(), real.sum().item()])
