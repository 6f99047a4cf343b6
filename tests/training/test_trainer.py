"""What the trainer gives each network to learn from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.measuring import NUM_ACTIONS, random_data
from torch import Tensor

from diffworld.config import Config
from diffworld.training.trainer import Trainer


@pytest.mark.parametrize("drawn", [False, True])
def test_the_reward_end_model_learns_from_true_or_from_drawn_frames(
    small: Config, drawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(small, reward_end_on_drawn_frames=drawn)
    with random_data(config, tmp_path) as dataset:
        trainer = Trainer(config, NUM_ACTIONS, dataset, None)
        seen: list[Tensor] = []
        loss = trainer.networks.reward_end.loss

        def watched(frames: Tensor, *rest: Any) -> object:
            seen.append(frames)
            return loss(frames, *rest)

        monkeypatch.setattr(trainer.networks.reward_end, "loss", watched)
        trainer.update("reward_end")
    n = config.denoiser.context_frames
    noise = seen[0][:, n:].diff(dim=-1).abs().mean()  # true frames are noise here, whatever is drawn is not
    assert (noise < 0.4) == drawn
