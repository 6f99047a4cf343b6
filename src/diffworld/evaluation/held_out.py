"""How well the world model predicts windows it never trained on."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from diffworld.config import Config
from diffworld.evaluation.episodes import SeenStep
from diffworld.networks import Networks
from diffworld.replay import Dataset, sample_around, sample_ending_near
from diffworld.world_model.batches import to_batch
from diffworld.world_model.denoiser import Denoiser
from diffworld.world_model.reward_end import RewardEndModel

BATCH = 32
GAMES = 2  # recorded whole, as far as there is room: openings alone would have no ends in them


class HeldOut:
    """Records the first test games as a data set, and measures the world model's losses on it."""

    def __init__(self, path: Path, config: Config, num_actions: int) -> None:
        shutil.rmtree(path, ignore_errors=True)
        size = (config.environment.height, config.environment.width, 3)
        self.config = config
        self.dataset = Dataset.create(path, size, num_actions=num_actions, info={"env": config.env})
        self.growing: dict[int, int] = {}  # game -> its episode in the data set

    def record(self, step: SeenStep) -> None:
        """Keep a step, as long as there is room."""
        if step.game >= GAMES or self.dataset.num_steps >= self.config.evaluation.held_out_steps:
            return
        if step.game not in self.growing:
            self.growing[step.game] = self.dataset.new_episode()
        ended = step.terminated or step.truncated
        self.dataset.append(
            self.growing[step.game],
            step.frame,
            step.action,
            step.reward,
            step.terminated,
            step.truncated,
            step.next_frame if ended else None,
        )
        if ended:
            del self.growing[step.game]

    def losses(self, networks: Networks, device: torch.device) -> dict[str, float]:
        """See `held_out_losses`."""
        c = self.config
        return held_out_losses(
            networks.denoiser,
            networks.reward_end,
            self.dataset,
            windows=c.evaluation.held_out_windows,
            denoiser_length=c.denoiser.context_frames + 1 + c.autoregressive_steps,
            reward_end_length=c.reward_end_window + c.denoiser.context_frames,
            device=device,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dataset.close()


@torch.no_grad()
def held_out_losses(
    denoiser: Denoiser,
    reward_end: RewardEndModel,
    dataset: Dataset,
    *,
    windows: int,
    denoiser_length: int,
    reward_end_length: int,
    device: torch.device,
) -> dict[str, float]:
    """Losses on `windows` windows drawn with a fixed seed, and precision, recall and F1 of reward and end.

    Noise and windows are the same at every call on the same data, so that losses can be compared.
    """
    rng, generator = np.random.default_rng(0), torch.Generator(device).manual_seed(0)

    def randn(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    sums: dict[str, float] = {}
    counts = {"reward": np.zeros(3), "end": np.zeros(3)}
    batches = max(1, windows // BATCH)
    for _ in range(batches):
        batch = to_batch(sample_ending_near(dataset, rng, BATCH, denoiser_length, recency=False), device)
        loss = denoiser.loss(batch.frames, batch.actions, batch.mask, randn)
        sums["denoiser/held_out_loss"] = sums.get("denoiser/held_out_loss", 0) + loss.item() / batches
        batch = to_batch(sample_around(dataset, rng, BATCH, reward_end_length, recency=False), device)
        losses = reward_end.loss(batch.frames, batch.actions, batch.rewards, batch.ends, batch.successor)
        for name, value in (
            ("reward_end/held_out_loss", losses.total),
            ("reward_end/held_out_loss_reward", losses.reward),
            ("reward_end/held_out_loss_end", losses.end),
        ):
            sums[name] = sums.get(name, 0) + value.item() / batches
        mask = batch.successor[:, :-1]
        signs = batch.rewards[:, :-1].sign()
        counts["reward"] += _hits(losses.reward_logits.argmax(-1) - 1, signs, mask)
        counts["end"] += _hits(losses.end_logits.argmax(-1), batch.ends[:, :-1], mask)
    for name, (right, said, true) in counts.items():
        sums[f"reward_end/{name}_precision"] = right / max(said, 1)
        sums[f"reward_end/{name}_recall"] = right / max(true, 1)
        sums[f"reward_end/{name}_f1"] = 2 * right / max(said + true, 1)
    return sums


def _hits(predicted: Tensor, true: Tensor, mask: Tensor) -> np.ndarray:
    """Non-zero predictions that are right, all non-zero predictions, all non-zero truths."""
    said, real = (predicted != 0) & mask, (true != 0) & mask
    right = said & real & (predicted == true)
    return np.array([right.sum().item(), said.sum().item(), real.sum().item()])
