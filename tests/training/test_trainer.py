"""What the trainer gives each network to learn from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.measuring import NUM_ACTIONS, random_data
from torch import Tensor

from diffworld.config import Config
from diffworld.training.trainer import Trainer


@pytest.mark.parametrize("drawn", [0, 1, 2])
def test_the_reward_end_model_learns_from_true_frames_and_after_the_first_epoch_from_drawn_ones_too(
    small: Config, drawn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = replace(small.reward_end_updates, first_steps=1)
    config = replace(small, reward_end_drawn_share=drawn / updates.batch_size, reward_end_updates=updates)
    with random_data(config, tmp_path) as dataset:
        trainer = Trainer(config, NUM_ACTIONS, dataset, None)
        seen: list[Tensor] = []
        loss = trainer.networks.reward_end.loss

        def watched(frames: Tensor, *rest: Any) -> object:
            seen.append(frames)
            return loss(frames, *rest)

        monkeypatch.setattr(trainer.networks.reward_end, "loss", watched)
        trainer.update("reward_end")
        trainer.update("reward_end")
    n = config.denoiser.context_frames
    for frames, expected in zip(seen, (0, drawn), strict=True):
        noise = frames[:, n:].diff(dim=-1).abs().mean(dim=(1, 2, 3, 4))  # true frames are noise, drawn ones not yet
        assert (noise < 0.2).tolist() == [row < expected for row in range(len(noise))]


def test_windows_about_rewards_reach_the_reward_end_model_and_dreams(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(small, rewarded_share=1.0, horizon=1)  # dreams then start on the one rewarded step there is
    with random_data(config, tmp_path) as dataset:
        shape = (config.environment.height, config.environment.width, 3)
        number = dataset.new_episode()
        for step in range(9):
            frame = np.full(shape, 255, np.uint8) if step == 4 else np.zeros(shape, np.uint8)
            dataset.append(number, frame, 0, float(step == 4), False, False)
        trainer = Trainer(config, NUM_ACTIONS, dataset, None)
        assert (trainer.draw_starts(3)[0][:, -1] == 1).all()
        seen: list[tuple[Tensor, ...]] = []
        loss = trainer.networks.reward_end.loss
        monkeypatch.setattr(trainer.networks.reward_end, "loss", lambda *batch: seen.append(batch) or loss(*batch))
        trainer.update("reward_end")
    rewards, bias = seen[0][2], seen[0][5]
    assert (rewards > 0).any(dim=1).all()
    assert bias[0] == 0 and bias[1] < 0 < bias[2]


def test_an_update_of_the_agent_centres_features_and_values(small: Config, tmp_path: Path) -> None:
    config = replace(small, actor_critic=replace(small.actor_critic, centre_features=True))
    with random_data(config, tmp_path) as dataset:
        trainer = Trainer(config, NUM_ACTIONS, dataset, None)
        agent = trainer.networks.actor_critic
        assert not agent.feature_mean.any()
        trainer.update("actor_critic")
        means = trainer.averages.means()
        error = means["actor_critic/imagined_return"] - means["actor_critic/value"]
        step = trainer.config.actor_critic_updates.learning_rate  # Adam's, at most
        assert agent.feature_mean.any()
        assert agent.value_head.bias.item() == pytest.approx(error, abs=1.1 * step)
